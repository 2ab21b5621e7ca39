"""Attention probe: like the linear probe, but each label pools the series of a study by a query of its own.

Attention pooling as in Ilse et al. (ICML 2018, equations 8 and 9) with one query a label, because a label shows on
some sequences more than on others: logit_k = w_k . sum_s softmax_s(q_k . x_s / sqrt(E)) x_s + b_k. With queries of
zero the pooling is the mean and the probe is the linear one; training starts there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from .probe import BoolArray, FloatArray, IntArray, ProbeEvaluator

_MAX_ITERATIONS = 60


@dataclass(frozen=True)
class SeriesSets:
    """The series of N studies, padded.

    Attributes:
        embeds: (N, S, E) float64, zero where there is none.
        is_series: bool (N, S).
    """

    embeds: FloatArray
    is_series: BoolArray


def series_sets(
    embeds: npt.NDArray[np.floating], study_of_series: Sequence[str], study_ids: Sequence[str]
) -> SeriesSets:
    """Series put together by study.

    Args:
        embeds: (M, E).
        study_of_series: M study ids.
        study_ids: N ids, the order of the result.
    """
    number_of = {study_id: number for number, study_id in enumerate(study_ids)}
    owner = np.array([number_of[study_id] for study_id in study_of_series])
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=len(study_ids))
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.zeros((len(study_ids), int(counts.max()), embeds.shape[1]))
    is_series = np.zeros(padded.shape[:2], dtype=bool)
    padded[owner[order], place] = embeds[order]
    is_series[owner[order], place] = True
    return SeriesSets(padded, is_series)


class AttentionProbe(nn.Module):
    """K queries and K linear classifiers of what they pool; all zero at first."""

    def __init__(self, num_labels: int, embed_dim: int):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(num_labels, embed_dim, dtype=torch.float64))
        self.weight = nn.Parameter(torch.zeros(num_labels, embed_dim, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(num_labels, dtype=torch.float64))

    def forward(self, embeds: torch.Tensor, is_series: torch.Tensor) -> torch.Tensor:
        """Series (N, S, E) and bool (N, S) to log-odds (N, K)."""
        agreement = embeds @ self.query.T / math.sqrt(embeds.shape[-1])  # (N, S, K)
        attention = agreement.masked_fill(~is_series[..., None], -torch.inf).softmax(1)
        return (attention * (embeds @ self.weight.T)).sum(1) + self.bias


def fit_attention(
    sets: SeriesSets, truth: BoolArray, strength: float, *, max_iterations: int = _MAX_ITERATIONS
) -> AttentionProbe:
    """Fit on all studies at once (L-BFGS), without anything random.

    The objective is that of scikit-learn's logistic regression, summed over labels and divided by `strength` x N, with
    the queries in the penalty beside the weights.

    Args:
        sets: N studies, standardised.
        truth: (N, K) labels.
        strength: Inverse L2 strength.
        max_iterations: Iterations of L-BFGS.
    """
    embeds, is_series = torch.from_numpy(sets.embeds), torch.from_numpy(sets.is_series)
    target = torch.from_numpy(truth.astype(np.float64))
    probe = AttentionProbe(truth.shape[1], embeds.shape[-1])
    optimizer = torch.optim.LBFGS(
        probe.parameters(), max_iter=max_iterations, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        misfit = F.binary_cross_entropy_with_logits(probe(embeds, is_series), target, reduction="sum")
        penalty = (probe.weight.square().sum() + probe.query.square().sum()) / 2
        loss: torch.Tensor = (misfit + penalty / strength) / len(target)
        loss.backward()
        return loss

    optimizer.step(closure)
    return probe


def attention_scores(evaluator: ProbeEvaluator, sets: SeriesSets) -> tuple[FloatArray, list[float]]:
    """Log-odds of the scored studies by attention probes, and the strength that each fold chose, as the linear one.

    Args:
        evaluator: Studies, labels and folds.
        sets: Series of its studies.

    Returns:
        (n_scored, K) log-odds, and one strength a fold.
    """
    counts = sets.is_series.sum(axis=1)
    means = sets.embeds.sum(axis=1) / counts[:, None]
    scores, strengths = [], []
    for fold in evaluator.folds:
        # By the means of studies, so that with queries of zero this is the linear probe.
        centre, spread = means[fold.train].mean(axis=0), means[fold.train].std(axis=0)
        scaled = (sets.embeds - centre) / np.where(spread > 0, spread, 1) * sets.is_series[..., None]

        def scorer(train: IntArray, other: IntArray, strength: float, scaled: FloatArray = scaled) -> FloatArray:
            probe = fit_attention(SeriesSets(scaled[train], sets.is_series[train]), evaluator.truth[train], strength)
            with torch.inference_mode():
                logits = probe(torch.from_numpy(scaled[other]), torch.from_numpy(sets.is_series[other]))
            found: FloatArray = logits.numpy()
            return found

        strengths.append(evaluator.choose_strength(scorer, fold))
        scores.append(scorer(fold.train, fold.test, strengths[-1]))
    return np.concatenate(scores), strengths
