"""Embedding map: a two-dimensional picture of study embeddings, and numbers that say what it suggests.

A picture can mislead, so each colouring comes with a number from the embeddings themselves: how many of a study's
nearest neighbours (studies of other patients) have its colour, beside how many would if colours were dealt out anew.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from selip.processing.findings import StructuredReport, is_abnormal

from .binary_metrics import patients_by_size
from .metrics import unit_rows

FloatArray = npt.NDArray[np.float64]

NUM_NEIGHBOURS = 10
NUM_DEALS = 999
# t-SNE of more studies takes minutes, and nobody sees single points among them.
LARGEST_MAP = 2000
_PERPLEXITY = 30.0
NO_FINDING, UNKNOWN = "no finding", "not known"


@dataclass(frozen=True)
class NeighbourPurity:
    """How often neighbours share a colour.

    Attributes:
        shares: (N,) share of each study's neighbours that have its category.
        expected: Mean share if categories were dealt out anew.
        p_value: Share of the deals, the real one among them, whose mean is at least as large.
    """

    shares: FloatArray
    expected: float
    p_value: float


def nearest_of_other_patients(
    embeds: FloatArray, patient_ids: Sequence[str], count: int = NUM_NEIGHBOURS
) -> npt.NDArray[np.int64]:
    """Rows of the nearest studies by cosine, none of the same patient.

    Args:
        embeds: (N, E).
        patient_ids: N ids.
        count: Neighbours of each; fewer where there are fewer studies of other patients.

    Returns:
        (N, count), nearest first.

    Raises:
        ValueError: All studies are of one patient.
    """
    _, patient = np.unique(np.asarray(patient_ids), return_inverse=True)
    most = int(np.bincount(patient).max())
    count = min(count, len(patient) - most)
    if count < 1:
        raise ValueError("expected studies of two patients or more, got those of one")
    finder = NearestNeighbors(n_neighbors=count + most).fit(unit_rows(embeds))  # the order is that of cosines
    found = finder.kneighbors(unit_rows(embeds), return_distance=False)
    rows = [near[patient[near] != patient[number]][:count] for number, near in enumerate(found)]
    return np.stack(rows)


def neighbour_purity(
    neighbours: npt.NDArray[np.int64],
    categories: Sequence[str],
    patient_ids: Sequence[str],
    *,
    seed: int,
    num_deals: int = NUM_DEALS,
) -> NeighbourPurity:
    """Purity of neighbours against categories dealt out anew.

    A deal exchanges the categories of whole patients with equally many studies, and those of the studies of a
    patient, so that what studies of one patient have in common stays together.

    Args:
        neighbours: (N, k) of `nearest_of_other_patients`.
        categories: N categories.
        patient_ids: N ids.
        seed: Seed of the deals.
        num_deals: Number of deals.
    """
    _, category = np.unique(np.asarray(categories), return_inverse=True)
    shares = (category[neighbours] == category[:, None]).mean(axis=1)
    blocks = patients_by_size(patient_ids)
    generator = np.random.default_rng(seed)
    means = np.empty(num_deals)
    for number in range(num_deals):
        dealt = np.empty_like(category)
        for block in blocks:
            # rows are patients, columns their studies: patients among each other, then the studies of each
            dealt[block] = category[generator.permuted(block[generator.permutation(len(block))], axis=1)]
        means[number] = (dealt[neighbours] == dealt[:, None]).mean()
    extreme = 1 + int((means >= shares.mean() - 1e-12).sum())
    return NeighbourPurity(shares, float(means.mean()), extreme / (num_deals + 1))


def map_of(embeds: FloatArray, seed: int) -> FloatArray:
    """(N, 2) places of N >= 4 studies by t-SNE (van der Maaten and Hinton 2008) that starts at their PCA."""
    perplexity = min(_PERPLEXITY, (len(embeds) - 1) / 3)
    found: FloatArray = TSNE(
        init="pca", perplexity=perplexity, metric="cosine", random_state=seed, n_jobs=1
    ).fit_transform(unit_rows(embeds))
    return found


def main_finding(labels: frozenset[str], reference_findings: str) -> str:
    """What a study is coloured by: the first abnormal true finding, else its label where it has one only.

    Args:
        labels: Labels of the study.
        reference_findings: JSON of a `StructuredReport`, or empty.
    """
    if reference_findings:
        found = [
            each for each in StructuredReport.model_validate_json(reference_findings).findings if is_abnormal(each)
        ]
        return found[0].finding if found else NO_FINDING
    if len(labels) > 1:
        return "several"
    return next(iter(labels), NO_FINDING)


def side_of(reference_findings: str) -> str:
    """Where the abnormal true findings are: left, right, both sides, midline or no side, no finding."""
    if not reference_findings:
        return UNKNOWN
    found = [each for each in StructuredReport.model_validate_json(reference_findings).findings if is_abnormal(each)]
    sides = {each.laterality for each in found} & {"left", "right", "bilateral"}
    if not found:
        return NO_FINDING
    if not sides:
        return "midline or no side"
    return f"{sides.pop()} only" if sides in ({"left"}, {"right"}) else "both sides"


def usable_colours(colours: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The colourings that have two categories or more, each with two studies or more."""
    return {
        name: tuple(values)
        for name, values in colours.items()
        if sum(count > 1 for count in Counter(values).values()) > 1
    }


@dataclass(frozen=True)
class MappedStudies:
    """The scored studies on a map.

    Attributes:
        embeds: (n, E), for the picture.
        colours: Category of each by colouring, those with two categories alone.
        shares: (n,) share of neighbours of the same category by colouring.
        metrics: What is expected of shares dealt out anew, and their p values.
        seed: Seed of the picture.
    """

    embeds: FloatArray
    colours: dict[str, tuple[str, ...]]
    shares: dict[str, FloatArray]
    metrics: dict[str, float]
    seed: int


def map_studies(
    embeds: FloatArray, patient_ids: Sequence[str], colours: Mapping[str, Sequence[str]], seed: int
) -> MappedStudies:
    """How nearest neighbours agree, colouring by colouring.

    Args:
        embeds: (N, E).
        patient_ids: N ids.
        colours: N categories by colouring; those without two categories of two studies are left out.
        seed: Seed of deals and picture.
    """
    usable = usable_colours(colours) if len(set(patient_ids)) > 1 else {}
    if not usable:
        return MappedStudies(embeds, {}, {}, {}, seed)
    neighbours = nearest_of_other_patients(embeds, patient_ids)
    shares: dict[str, FloatArray] = {}
    metrics: dict[str, float] = {}
    for name, categories in usable.items():
        found = neighbour_purity(neighbours, categories, patient_ids, seed=seed)
        shares[name] = found.shares
        metrics |= {f"map/{name}/expected": found.expected, f"map/{name}/p_value": found.p_value}
    return MappedStudies(embeds, usable, shares, metrics, seed)
