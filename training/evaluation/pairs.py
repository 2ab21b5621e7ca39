"""Minimal pairs: two studies that differ in one thing, and whether a model tells which text is whose."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases
from .gallery import RetrievalGallery
from .metrics import unit_rows_of_both
from .retrieval import DIRECTIONS


@dataclass(frozen=True)
class StudyPair:
    """Two studies that differ in one thing.

    Attributes:
        study_id: The one.
        partner_id: The other.
        kind: What differs, e.g. "side".
    """

    study_id: str
    partner_id: str
    kind: str


_COLUMNS = ("original", "partner", "change")


def read_pairs(path: Path) -> list[StudyPair]:
    """Pairs of a tab-separated table with the columns original, partner and change, as `selip simulate` writes it.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A column is missing.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"expected the columns {', '.join(_COLUMNS)} in {path.name}, {', '.join(missing)} missing"
            )
        return [StudyPair(*(row[name] for name in _COLUMNS)) for row in reader]


@dataclass(frozen=True)
class PairsResult:
    """Outcome of one evaluation: `metrics` and `intervals` by name, `cases` by column (one row is one choice)."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    cases: dict[str, npt.NDArray[Any]]


class PairsEvaluator:
    """Forced choice between the two texts (or the two series) of a minimal pair, one sequence at a time.

    Every pair gives two choices a sequence and direction: `image_to_text`, the series of each study between both
    texts; `text_to_image`, the text of each between both series. A sequence whose two texts are equal, because it
    cannot show what differs, gives none. Ties are wrong, chance is 0.5.

    Names of metrics are `{kind}/{direction}/accuracy`, over all pairs of a kind or `all` of them, and
    `{kind}/{direction}/n_choices`. Intervals resample patients; both studies of a pair count as the first one's
    patient.

    Args:
        gallery: Series and texts of the studies of all pairs.
        pairs: The pairs; those of which a study is not in the gallery are counted in `skipped`.
        bootstrap_samples: Replicates for the intervals; 0 = points only.
        confidence: Share of replicates inside the interval.
        seed: Seed of the patient draws.

    Raises:
        ValueError: Not one pair has two different texts.
    """

    primary_metric = "all/image_to_text/accuracy"
    greater_is_better = True

    def __init__(
        self,
        gallery: RetrievalGallery,
        pairs: Sequence[StudyPair],
        *,
        bootstrap_samples: int = 0,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.gallery = gallery
        self.bootstrap_samples, self.confidence, self.seed = bootstrap_samples, confidence, seed
        self.skipped: Counter[str] = Counter()
        self._choices = self._find_choices(pairs)
        if not self._choices:
            raise ValueError(
                f"expected pairs of studies with different texts in some sequence, got none among {len(pairs)} pairs "
                f"({dict(self.skipped)})"
            )

    @property
    def num_pairs(self) -> int:
        """Pairs that give at least one choice."""
        return len({pair for pair, _, _ in self._choices})

    def get_config_dict(self) -> dict[str, Any]:
        """Settings for the result file and the model card."""
        return {
            "task": "pairs",
            "choice": "own text or partner's text, by cosine; ties are wrong",
            "interval": "patient-clustered percentile bootstrap",
            "bootstrap_samples": self.bootstrap_samples,
            "confidence": self.confidence,
            "seed": self.seed,
        }

    def evaluate(self, image_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike) -> PairsResult:
        """
        Args:
            image_embeds: (N, E) of the gallery's series.
            text_embeds: (M, E) of its texts.

        Raises:
            ValueError: Shapes do not fit the gallery, or values are not finite.
        """
        counts = (len(self.gallery.images), len(self.gallery.texts))
        images, texts = unit_rows_of_both(image_embeds, text_embeds, counts=counts)
        rows = []
        for pair, own, other in self._choices:
            image, rival = self.gallery.images[own], self.gallery.images[other]
            cosine = float(images[own] @ texts[image.text])
            for direction in DIRECTIONS:
                against = images[own] @ texts[rival.text]
                if direction == "text_to_image":
                    against = images[other] @ texts[image.text]
                rows.append((direction, pair.kind, image, rival, cosine - float(against)))
        # both studies of a pair have one anatomy, so they are drawn together
        patient_of = {pair: self.gallery.images[own].patient_id for pair, own, _ in reversed(self._choices)}
        patients = [patient_of[pair] for pair, _, _ in self._choices for _ in DIRECTIONS]
        cases: dict[str, npt.NDArray[Any]] = {
            "direction": np.array([row[0] for row in rows], dtype=object),
            "kind": np.array([row[1] for row in rows], dtype=object),
            "sequence": np.array([row[2].sequence for row in rows], dtype=object),
            "study_id": np.array([row[2].study_id for row in rows], dtype=object),
            "partner_id": np.array([row[3].study_id for row in rows], dtype=object),
            "patient_id": np.array(patients, dtype=object),
            "margin": np.array([row[4] for row in rows]),
        }
        resampling = None
        if self.bootstrap_samples:
            resampling = PatientBootstrap(cases["patient_id"], num_samples=self.bootstrap_samples, seed=self.seed)
        found = pairs_case_metrics(cases, resampling)
        return PairsResult(found.points, found.intervals(self.confidence), cases)

    def _find_choices(self, pairs: Sequence[StudyPair]) -> list[tuple[StudyPair, int, int]]:
        """(pair, image that chooses, image of the other study) for both studies of each pair."""
        series: dict[str, dict[tuple[str, int], int]] = {}
        for index, image in enumerate(self.gallery.images):
            of_study = series.setdefault(image.study_id, {})
            number = sum(sequence == image.sequence for sequence, _ in of_study)
            of_study[image.sequence, number] = index
        choices = []
        for pair in pairs:
            if pair.study_id not in series or pair.partner_id not in series:
                self.skipped["pair of which a study has no series here"] += 1
                continue
            ours, theirs = series[pair.study_id], series[pair.partner_id]
            for key in ours.keys() & theirs.keys():
                own, other = ours[key], theirs[key]
                if self.gallery.images[own].text != self.gallery.images[other].text:
                    choices += [(pair, own, other), (pair, other, own)]
        return sorted(choices, key=lambda choice: (choice[0].study_id, choice[0].partner_id, choice[1]))


def pairs_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Every metric of `PairsEvaluator` from its case table alone.

    Args:
        cases: Case table of a `PairsResult`.
        resampling: Draws of the patients of its rows; None: points only.
    """
    values = (cases["margin"] > 0).astype(np.float64)[:, None]
    weights = np.ones(len(values))
    found = CaseMetrics({}, {})
    for kind in ("all", *dict.fromkeys(cases["kind"])):
        for direction in dict.fromkeys(cases["direction"]):
            chosen = (cases["direction"] == direction) & ((kind == "all") | (cases["kind"] == kind))
            rows = np.flatnonzero(chosen)
            name = f"{kind}/{direction}/accuracy"
            found.points[name] = float(values[rows].mean())
            found.points[f"{kind}/{direction}/n_choices"] = float(len(rows))
            if resampling is not None:
                found.replicates[name] = resampling.means(values, weights, rows)[:, 0]
    return found
