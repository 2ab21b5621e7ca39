"""Pure losses of the heads. No parameters, no files. Everything is computed in float32.

Each study counts the same, however many of its labels or voxels are known: so the loss of a batch is the mean of the
losses of its studies, and of equal parts of it, on one process or several.

Letters: B studies, K labels or classes, X Y Z voxels of the study box.
"""

import torch
import torch.nn.functional as F

UNKNOWN = -100
"""A label that is not known, as everywhere in torch and Transformers: it adds nothing to a loss."""
DICE_SMOOTHING = 1.0
"""Voxels added above and below in the soft Dice: where nothing is to be found, less found is still better."""


def multi_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over the known labels of each study, then over the studies.

    Args:
        logits: (B, K).
        labels: (B, K): 0, 1, or -100 where it is not known.

    Returns:
        Scalar float32; a study of which nothing is known counts as 0.

    Raises:
        ValueError: The shapes differ.
    """
    if labels.shape != logits.shape:
        raise ValueError(f"expected labels of shape {tuple(logits.shape)}, got {tuple(labels.shape)}")
    is_known = (labels != UNKNOWN).float()
    targets = labels.float() * is_known
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none") * is_known
    return (losses.sum(1) / is_known.sum(1).clamp(min=1)).mean()


def single_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, mean over the studies.

    Args:
        logits: (B, K).
        labels: int64 (B,): a class, or -100 where it is not known; such a study counts as 0.

    Returns:
        Scalar float32.

    Raises:
        ValueError: There is not one label a study.
    """
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"expected labels of shape {tuple(logits.shape[:1])}, got {tuple(labels.shape)}")
    return F.cross_entropy(logits.float(), labels.long(), ignore_index=UNKNOWN, reduction="none").mean()


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice loss, for each study, then the mean over the studies.

    With p the softmax of the scores, g the true class as 0 and 1, and sums over the known voxels of one study:

        CE   = - mean over voxels of log p of the true class
        Dice = 1 - mean over classes k > 0 of (2 sum p_k g_k + 1) / (sum p_k + sum g_k + 1)

    The sum of both, unweighted, and the background left out of the second, is the loss of nnU-Net (Isensee et al.,
    Nature Methods 2021); soft Dice is of Milletari et al. 2016 (V-Net), who square the sums below. Here they are not,
    and one voxel smooths them, so that a study without a lesion has a gradient.

    Args:
        logits: (B, K, X, Y, Z), class 0 is the background.
        labels: int64 (B, X, Y, Z): a class, or -100 where it is not known.

    Returns:
        Scalar float32.

    Raises:
        ValueError: The shapes differ, or there are fewer than two classes.
    """
    if logits.shape[1] < 2 or labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            "expected logits (B, K, X, Y, Z) of at least two classes and labels (B, X, Y, Z), got "
            f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    log_p = logits.float().log_softmax(1)
    cross_entropy = F.nll_loss(log_p, labels, ignore_index=UNKNOWN, reduction="none")
    is_known = (labels != UNKNOWN).float()
    voxels = is_known.sum((1, 2, 3)).clamp(min=1)
    dice = soft_dice(log_p.exp(), labels)
    return (cross_entropy.sum((1, 2, 3)) / voxels + 1 - dice.mean(1)).mean()


def soft_dice(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft Dice of each study and class but the background, (B, K - 1); formula in `segmentation_loss`.

    Args:
        probabilities: (B, K, X, Y, Z).
        labels: int64 (B, X, Y, Z), -100 where it is not known.
    """
    is_known = labels != UNKNOWN
    scores = []
    for number in range(1, probabilities.shape[1]):
        p = probabilities[:, number] * is_known
        g = (labels == number).to(p.dtype)
        shared, total = (p * g).sum((1, 2, 3)), p.sum((1, 2, 3)) + g.sum((1, 2, 3))
        scores.append((2 * shared + DICE_SMOOTHING) / (total + DICE_SMOOTHING))
    return torch.stack(scores, dim=1)
