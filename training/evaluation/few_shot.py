"""Few-shot curve: the linear probe, fitted on few labelled studies, drawn several times.

k studies with a label and k without it, each of another patient, or all studies of a share of the training patients.
Embeddings need no label, so all training studies standardise the features; the penalty is fixed, because with few
labels there are none to choose it by.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from .probe import MIDDLE_STRENGTH, BoolArray, FloatArray, IntArray, ProbeEvaluator, ProbeFold, label_scores
from .probe_metrics import few_shot_column


@dataclass(frozen=True)
class FewShotPlan:
    """What a curve is made of.

    Attributes:
        per_class: Numbers of studies with a label, and as many without.
        shares: Shares of the training patients, in (0, 1].
        draws: How often each is drawn.
    """

    per_class: tuple[int, ...]
    shares: tuple[float, ...]
    draws: int


SHORT_CURVE = FewShotPlan(per_class=(1, 8, 64), shares=(), draws=5)
FULL_CURVE = FewShotPlan(per_class=(1, 2, 4, 8, 16, 32, 64), shares=(0.01, 0.1, 1.0), draws=10)


def few_shot_scores(
    evaluator: ProbeEvaluator, features: npt.NDArray[np.floating], plan: FewShotPlan, seed: int
) -> dict[str, FloatArray]:
    """Log-odds of the scored studies by column of the table of cases.

    A label with fewer than k patients on either side, in a fold, is NaN from that k on. In a draw of a share that has
    no study with a label, or none without, nothing can be learnt of it: all studies get the same score, which is
    chance.

    Args:
        evaluator: Studies, labels and folds.
        features: (N, F), rows as in its studies.
        plan: Numbers and shares.
        seed: Seed of the draws.

    Returns:
        (n_scored, K) by column, as in `few_shot_column`.
    """
    settings = [(f"k={count}", float(count)) for count in plan.per_class]
    settings += [(f"share={100 * share:g}%", share) for share in plan.shares]
    scaled = [evaluator.scaled(features, fold) for fold in evaluator.folds]
    columns = {}
    rounds = [(place, draw) for place, (_, size) in enumerate(settings) for draw in range(plan.draws)]
    for place, draw in tqdm(rounds, desc="few-shot draws", unit="draw", disable=None, leave=False):
        name, size = settings[place]
        if name == "share=100%" and draw:
            continue  # every draw is the same
        parts = []
        for number, fold in enumerate(evaluator.folds):
            generator = np.random.default_rng([seed, place, draw, number])
            if name.startswith("k="):
                parts.append(_of_classes(evaluator, scaled[number], fold, int(size), generator))
            else:
                parts.append(_of_share(evaluator, scaled[number], fold, size, generator))
        columns[few_shot_column(name, draw)] = _without_incomplete(np.concatenate(parts))
    return columns


def draw_per_class(
    positive: BoolArray, patients: npt.NDArray[np.generic], count: int, generator: np.random.Generator
) -> IntArray | None:
    """Rows of `count` studies with a label and as many without it, no patient twice; None where there are too few.

    Args:
        positive: (n,) which studies have it.
        patients: (n,) patient of each.
        count: k >= 1.
        generator: Draws patients, then one study of each.
    """
    with_it = generator.permutation(np.unique(patients[positive]))[:count]
    others = np.setdiff1d(np.unique(patients[~positive]), with_it)
    without = generator.permutation(others)[:count]
    if len(with_it) < count or len(without) < count:
        return None
    rows = [generator.choice(np.flatnonzero(positive & (patients == patient))) for patient in with_it]
    rows += [generator.choice(np.flatnonzero(~positive & (patients == patient))) for patient in without]
    return np.array(rows, dtype=np.int64)


def draw_share(patients: npt.NDArray[np.generic], share: float, generator: np.random.Generator) -> IntArray:
    """Rows of all studies of a share of the patients, at least one of them.

    Args:
        patients: (N,) ids.
        share: In (0, 1].
        generator: Draws the patients.

    Returns:
        (n,) row numbers, ascending.
    """
    known = np.unique(patients)
    chosen = generator.permutation(known)[: max(1, round(share * len(known)))]
    return np.flatnonzero(np.isin(patients, chosen))


def _of_classes(
    evaluator: ProbeEvaluator, scaled: FloatArray, fold: ProbeFold, count: int, generator: np.random.Generator
) -> FloatArray:
    """(n_test, K) by one draw for each label; NaN where it has too few patients."""
    patients = np.asarray(evaluator.studies.patient_ids)[fold.train]
    scores = np.full((len(fold.test), len(evaluator.labels)), np.nan)
    for number, positive in enumerate(evaluator.truth[fold.train].T):
        drawn = draw_per_class(positive, patients, count, generator)
        if drawn is not None:
            rows = fold.train[drawn]
            scores[:, number] = label_scores(scaled[rows], positive[drawn], scaled[fold.test], MIDDLE_STRENGTH)
    return scores


def _of_share(
    evaluator: ProbeEvaluator, scaled: FloatArray, fold: ProbeFold, share: float, generator: np.random.Generator
) -> FloatArray:
    """(n_test, K) by one draw for all labels."""
    patients = np.asarray(evaluator.studies.patient_ids)[fold.train]
    rows = fold.train[draw_share(patients, share, generator)]
    columns = [label_scores(scaled[rows], y[rows], scaled[fold.test], MIDDLE_STRENGTH) for y in evaluator.truth.T]
    return np.column_stack(columns)


def _without_incomplete(scores: FloatArray) -> FloatArray:
    """A label that one fold could not draw is left out as a whole."""
    return np.where(np.isnan(scores).any(axis=0), np.nan, scores)
