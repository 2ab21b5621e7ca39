"""What every evaluation task is given, and what it gives back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt
from datasets import Dataset, DatasetDict

from selip.processing.sources.schema import StudyRow
from selip.processing.sources.studies import iter_studies, load_studies, studies_fingerprint

from ..volumes import VolumesTable
from .bootstrap import PatientBootstrap
from .config import EvaluateConfig
from .embedding import Embedder
from .pairs import read_pairs
from .series_source import NiftiSeries, PreparedSeries, SeriesSource

CONFIDENCE = 0.95
"""Share of the draws of patients that lies within an interval."""


@dataclass(frozen=True)
class StudyInputs:
    """The studies that something is evaluated on.

    Attributes:
        config: The request.
        image_processor: `SelipImageProcessor` with the box that what is evaluated takes.
    """

    config: EvaluateConfig
    image_processor: Any

    @cached_property
    def splits(self) -> DatasetDict:
        """All studies by split."""
        return load_studies(self.config.studies)

    def studies(self, split: str) -> Dataset:
        """The studies of one split, without those that are there as partners of minimal pairs only.

        Raises:
            ValueError: It has none.
        """
        partners = set() if self.config.pairs is None else {pair.partner_id for pair in read_pairs(self.config.pairs)}
        studies = self.studies_with_partners(split)
        kept = [number for number, name in enumerate(studies["study_id"]) if name not in partners]
        return studies if len(kept) == len(studies) else studies.select(kept)

    def studies_with_partners(self, split: str) -> Dataset:
        """All studies of one split.

        Raises:
            ValueError: It has none.
        """
        if len(self.splits[split]) == 0:
            raise ValueError(f"expected studies in split {split}, got none in {self.config.studies}")
        return self.splits[split]

    def rows(self, split: str, *, with_partners: bool = False) -> Iterator[StudyRow]:
        """The studies of one split as plain rows, each with the series that are shown (`config.sequences`) alone.

        Args:
            split: train, validation or test.
            with_partners: also those that are there as partners of minimal pairs only.
        """
        shown = self.config.sequences
        for row in iter_studies(self.studies_with_partners(split) if with_partners else self.studies(split)):
            if shown:
                row = {**row, "series": [each for each in row["series"] if each["sequence"] in shown]}
            yield row

    def resampling(self, patient_ids: npt.ArrayLike) -> PatientBootstrap | None:
        """Draws of patients for the intervals, as many as are asked for; None: none are.

        Args:
            patient_ids: Of every row of the table of cases.
        """
        samples = self.config.bootstrap_samples
        return PatientBootstrap(patient_ids, num_samples=samples, seed=self.config.seed) if samples else None

    @property
    def interval_settings(self) -> dict[str, Any]:
        """How intervals are made, for the result file."""
        return {
            "interval": "patient-clustered percentile bootstrap",
            "bootstrap_samples": self.config.bootstrap_samples,
            "confidence": CONFIDENCE,
            "seed": self.config.seed,
        }

    def source(self, split: str) -> SeriesSource:
        """Where the voxels of a split's series come from.

        Raises:
            ValueError: The volumes table was prepared from other studies, or for another box.
        """
        config = self.config
        return series_source(self.studies_with_partners(split), config.studies, config.volumes, self.image_processor)


def series_source(studies: Dataset, path: Path, volumes: Path | None, image_processor: Any) -> SeriesSource:
    """Where the voxels of the series of some studies come from.

    Args:
        studies: Rows of a studies table.
        path: The table.
        volumes: Volumes table of the same studies; None: the NIfTI files are read.
        image_processor: The checkpoint's own.

    Raises:
        ValueError: The volumes table was prepared from other studies, or for another box.
    """
    if volumes is None:
        return NiftiSeries(studies, image_processor)
    table = VolumesTable(volumes)
    if table.info.studies_fingerprint != studies_fingerprint(path):
        raise ValueError(
            f"expected volumes prepared from {path}, but {volumes} was prepared from another studies table; prepare "
            "again, or leave volumes out"
        )
    return PreparedSeries(table, image_processor)


@dataclass(frozen=True)
class EvaluationInputs(StudyInputs):
    """What embeds series and texts, and the studies it is evaluated on.

    Attributes:
        embedder: What is evaluated.
        embeddings: Folder where embeddings of what it is compared with are kept; None: nowhere.
    """

    embedder: Embedder
    embeddings: Path | None = None


Intervals = Mapping[str, tuple[float, float]]


def _no_pictures(out: Path) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class TaskOutcome:
    """What a task found.

    Attributes:
        primary_metric: Name of the metric that ranks checkpoints by this task.
        greater_is_better: Its direction.
        metrics: Value by name.
        intervals: Lower and upper end by the same name.
        cases: Columns of the per-case table, from which all metrics can be recomputed.
        n: Numbers of patients, studies and series, by these names, and more that the task counts.
        skipped: Number of items left out, by reason.
        references: Number of studies by where their reference comes from.
        settings: How it was done, for the card.
        summary: The main numbers as a few lines of text.
        draw: Draws pictures beside a result path; returns their file names by kind.
        scores: Columns of the table of scores that the cases follow from, where it was asked for and is another one.
    """

    primary_metric: str
    greater_is_better: bool
    metrics: Mapping[str, float]
    intervals: Intervals
    cases: Mapping[str, npt.NDArray[Any]]
    n: Mapping[str, int]
    skipped: Mapping[str, int]
    references: Mapping[str, int]
    settings: Mapping[str, Any]
    summary: str
    draw: Callable[[Path], dict[str, str]] = field(default=_no_pictures)
    scores: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def percent_with_interval(name: str, metrics: Mapping[str, float], intervals: Intervals) -> str:
    """A metric in percent with its interval where it has one, e.g. "61.4 [51.8, 70.8]"."""
    value = f"{100 * metrics[name]:.1f}"
    ends = intervals.get(name)
    return value if ends is None else f"{value} [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
