"""Controls for SeLIP: the same loss with targets that say nothing of what is similar.

If SeLIP wins over CLIP because soft targets regularise, `uniform_selip_loss` wins as well. If it wins because of the
shape of its targets (a few texts with much mass), `permuted_selip_loss` wins as well. Only what is left is owed to
similarity.
"""

import torch

from selip.modeling_selip.loss_selip import selip_loss


def uniform_selip_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    compared: torch.Tensor,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """SeLIP with each row's mass off the true pair spread evenly over all texts it is compared with.

    Arguments as in `selip_loss`.
    """
    return selip_loss(image_embeds, text_embeds, logit_scale, compared, uniform_similarity(similarity, compared))


def permuted_selip_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    compared: torch.Tensor,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """SeLIP with each row's similarities moved on to other texts of the batch.

    Arguments as in `selip_loss`.
    """
    return selip_loss(image_embeds, text_embeds, logit_scale, compared, permuted_similarity(similarity, compared))


def uniform_similarity(similarity: torch.Tensor, compared: torch.Tensor) -> torch.Tensor:
    """Every off-diagonal compared entry of a row becomes the mean of these entries; the diagonal stays.

    Args:
        similarity: (P, P).
        compared: bool (P, P).

    Returns:
        float32 (P, P); each row has the sum it had.
    """
    others = _others(compared)
    total = similarity.float().masked_fill(~others, 0.0).sum(-1, keepdim=True)
    mean = total / others.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(others, mean, similarity.float())


def permuted_similarity(similarity: torch.Tensor, compared: torch.Tensor) -> torch.Tensor:
    """The off-diagonal compared entries of each row, moved on by half of their number; the diagonal stays.

    Batches are in random order, so the text that stands half a batch further on is one at random. No random numbers
    are drawn, so that all processes of a run see the same targets.

    Args:
        similarity: (P, P).
        compared: bool (P, P).

    Returns:
        float32 (P, P); each row holds the values it held.
    """
    moved = similarity.float().clone()
    for row, others in enumerate(_others(compared)):
        places = others.nonzero()[:, 0]
        moved[row, places] = similarity[row, places].float().roll(len(places) // 2)
    return moved


def _others(compared: torch.Tensor) -> torch.Tensor:
    """Compared pairs other than the true one, bool (P, P)."""
    return compared & ~torch.eye(len(compared), dtype=torch.bool, device=compared.device)
