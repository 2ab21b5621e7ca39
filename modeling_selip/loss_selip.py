"""Pure contrastive losses between P image views and P texts. No gathering, no parameters, no files.

Letters: P pairs, E embedding. `image_embeds[i]` is the view that text i speaks of. Everything is computed in float32.

    l_ij = s u_i . v_j                       u, v unit image and text vectors, s = exp(logit_scale)
    P^I = softmax of l over texts,  P^T = softmax of l over images

Which pairs are compared: pair (i, j) counts if both items are real and either i = j or they come from different
studies. Two views of one study are never each other's negatives: what is said of the one is often true of the other.
"""

import math
import warnings

import torch

# arXiv 2503.19801, released code: scores and targets are floored here
FAITHFUL_FLOOR = 1e-3
# above this batch the floor outweighs the targets: 256 floored entries hold a fifth of a row
FAITHFUL_LARGEST_BATCH = 256
# CLIP (Radford et al. 2021) clamps the inverse temperature at 100
MAX_LOGIT_SCALE = math.log(100.0)


def scale_of(logit_scale: torch.Tensor) -> torch.Tensor:
    """The inverse temperature s of a stored logarithm, clamped to [1, 100]. The only place that exponentiates it."""
    return logit_scale.float().clamp(0.0, MAX_LOGIT_SCALE).exp()


def compared_pairs(text_study: torch.Tensor, text_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Which of the P x P pairs a loss compares.

    Args:
        text_study: int64 (P,), the study of each item; equal numbers are views of one study.
        text_mask: bool (P,), True = a real item. None: all are real.

    Returns:
        bool (P, P), symmetric; the diagonal is True for real items.
    """
    own = torch.eye(len(text_study), dtype=torch.bool, device=text_study.device)
    compared = own | (text_study[:, None] != text_study[None, :])
    if text_mask is not None:
        compared = compared & text_mask[:, None] & text_mask[None, :]
    return compared


def clip_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, logit_scale: torch.Tensor, compared: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE (Radford et al. 2021): mean of the two cross-entropies with the true pair as the only target.

    Args:
        image_embeds: (P, E), unit length.
        text_embeds: (P, E), unit length.
        logit_scale: (1,), logarithm of the inverse temperature.
        compared: bool (P, P) of [`compared_pairs`].

    Returns:
        Scalar float32.
    """
    own = torch.eye(len(compared), device=compared.device)
    return soft_target_clip_loss(image_embeds, text_embeds, logit_scale, compared, own)


def soft_target_clip_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    compared: torch.Tensor,
    targets: torch.Tensor,
) -> torch.Tensor:
    """1/2 [CE(Y, P^I) + CE(Y', P^T)], CE(Y, P) = -(1/P) sum_ij Y_ij log P_ij, over compared pairs and real items.

    Args:
        targets: (P, P), Y; its rows are distributions over texts. Y' is taken as Y, which holds for a symmetric
            similarity after row normalisation in each direction (rows of the transposed problem see the same
            similarity).

    Returns:
        Scalar float32. Other arguments as in [`clip_loss`].
    """
    logits = pair_logits(image_embeds, text_embeds, logit_scale, compared)
    targets = targets.float().masked_fill(~compared, 0.0)
    total = torch.zeros((), device=logits.device)
    for direction in (logits, logits.T):
        log_probs = direction.log_softmax(dim=-1).masked_fill(~compared, 0.0)
        total = total - (targets * log_probs).sum() / 2
    return total / real_items(compared).sum().clamp(min=1)


def selip_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    compared: torch.Tensor,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """SeLIP as released (arXiv 2503.19801, mode `align_TextSimNegKL`): CLIP + KL(Q || P), with both floors at 1e-3.

        Q_ij = max(S_ij / max(sum_k S_ik, eps), eps)
        L = L_clip + 1/2 [ (1/P) sum_ij Q_ij ln(Q_ij / max(P^I_ij, eps)) + the same with P^T ]

    Without the floors this is twice the soft-target CLIP loss with Y = (I + Q) / 2, less the entropy of Q.

    Args:
        similarity: (P, P) in [0, 1], symmetric, diagonal 1: S between the texts.

    Returns:
        Scalar float32. Other arguments as in [`clip_loss`].
    """
    if len(compared) > FAITHFUL_LARGEST_BATCH:
        warnings.warn(
            f"the released SeLIP loss floors every target at {FAITHFUL_FLOOR}, which distorts rows of more than "
            f"{FAITHFUL_LARGEST_BATCH} texts (got {len(compared)}); use the `selip_recommended` objective",
            stacklevel=2,
        )
    own = clip_loss(image_embeds, text_embeds, logit_scale, compared)
    targets = row_normalised(similarity, compared).clamp(min=FAITHFUL_FLOOR)
    logits = pair_logits(image_embeds, text_embeds, logit_scale, compared)
    divergence = torch.zeros((), device=logits.device)
    for direction in (logits, logits.T):
        probs = direction.softmax(dim=-1).clamp(min=FAITHFUL_FLOOR)
        terms = targets * (targets / probs).log()
        divergence = divergence + terms.masked_fill(~compared, 0.0).sum() / 2
    return own + divergence / real_items(compared).sum().clamp(min=1)


def selip_recommended_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    compared: torch.Tensor,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """SeLIP without the floors: soft-target CLIP, Y = (I + Q) / 2, from the log-softmax, so any batch size is sound.

    Its gradient is half of that of the released form where no floor is active. Arguments as in [`selip_loss`].
    """
    return soft_target_clip_loss(image_embeds, text_embeds, logit_scale, compared, selip_targets(similarity, compared))


def fvlm_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    compared: torch.Tensor,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """Soft-target CLIP with Y = Q: equal texts share their target evenly (fVLM, ICLR 2025, its targets).

    Takes the similarity `equal`, 1 between texts that are the same or both say that nothing is abnormal. With unique
    texts it is CLIP. Arguments as in [`selip_loss`].
    """
    return soft_target_clip_loss(
        image_embeds, text_embeds, logit_scale, compared, row_normalised(similarity, compared)
    )


def selip_targets(similarity: torch.Tensor, compared: torch.Tensor) -> torch.Tensor:
    """Y = (I + Q) / 2: the true pair keeps at least half of the mass.

    Args:
        similarity: (P, P) in [0, 1].
        compared: bool (P, P).

    Returns:
        float32 (P, P); rows of real items sum to 1.
    """
    own = torch.eye(len(compared), device=compared.device)
    return (own + row_normalised(similarity, compared)) / 2


def row_normalised(similarity: torch.Tensor, compared: torch.Tensor) -> torch.Tensor:
    """Q: similarity over compared pairs, each row divided by its sum (diagonal included).

    Returns:
        float32 (P, P).
    """
    masked = similarity.float().masked_fill(~compared, 0.0)
    return masked / masked.sum(-1, keepdim=True).clamp(min=FAITHFUL_FLOOR)


def pair_logits(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, logit_scale: torch.Tensor, compared: torch.Tensor
) -> torch.Tensor:
    """Scaled cosines of views (rows) and texts (columns), with the smallest float where a pair is not compared.

    Returns:
        float32 (P, P).
    """
    logits = scale_of(logit_scale) * image_embeds.float() @ text_embeds.float().T
    return logits.masked_fill(~compared, torch.finfo(logits.dtype).min)


def real_items(compared: torch.Tensor) -> torch.Tensor:
    """bool (P,): the items that count, read off the diagonal."""
    return compared.diagonal()
