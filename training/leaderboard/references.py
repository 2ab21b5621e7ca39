"""What a submission is scored against, task by task: the cases of a benchmark and what is true of them.

A submission brings scores and the keys they belong to, nothing else. Which answer is right, which patient a case is
of and what a study shows come from here, so a submission cannot choose them.

retrieval   one row a series (or a whole study, with an empty series id): its score against every text of the gallery.
            Ranks in both directions and every metric follow from this one matrix; a rank alone is not taken.
pairs       one row a choice: score of the own text or series minus that of the partner's.
probe       one row a study and label: a score, larger for yes.
zero_shot   one row a study and label: margins of the protocol and of each of its templates, and a probability.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..evaluation.case_metrics import Cases
from ..evaluation.gallery import STUDY, GalleryImage, GalleryText, RetrievalGallery
from ..evaluation.relevance import FindingSet
from ..evaluation.retrieval import RetrievalEvaluator

Columns = dict[str, list[Any]]
Scores = Mapping[str, Sequence[Any]]
Key = tuple[str, ...]


@dataclass(frozen=True)
class ScoreColumn:
    """A column that a submission must have.

    Attributes:
        name: Its name.
        widths: Numbers that each case has in it, (R,); None: one each.
        may_lack: Cases that may have none, (R,); None: no case.
        low: Smallest value allowed.
        high: Largest value allowed.
    """

    name: str
    widths: npt.NDArray[np.int64] | None = None
    may_lack: npt.NDArray[np.bool_] | None = None
    low: float = -1e9
    high: float = 1e9


class Reference(Protocol):
    """The cases of one task."""

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns that tell cases apart."""

    @property
    def keys(self) -> list[Key]:
        """The key of every case, in the order of the benchmark."""

    @property
    def score_columns(self) -> tuple[ScoreColumn, ...]:
        """What a submission must say of every case."""

    def cases(self, scores: Scores) -> Cases:
        """The table of cases, from scores in the order of `keys`."""

    def contradictions(self, scores: Scores) -> int:
        """Number of places where scores cannot come from one scoring function."""


@dataclass(frozen=True)
class TableReference:
    """Cases of a task whose scores are plain numbers.

    Attributes:
        table: Columns of the benchmark's table.
        key_columns: Columns that tell cases apart.
        columns: What a submission says of each.
    """

    table: Mapping[str, npt.NDArray[Any]]
    key_columns: tuple[str, ...]
    columns: tuple[ScoreColumn, ...]

    @property
    def keys(self) -> list[Key]:
        """See `Reference`."""
        return list(zip(*(self.table[name].astype(str).tolist() for name in self.key_columns), strict=True))

    @property
    def score_columns(self) -> tuple[ScoreColumn, ...]:
        """See `Reference`."""
        return self.columns

    def cases(self, scores: Scores) -> Cases:
        """See `Reference`."""
        given = {each.name: np.asarray(scores[each.name], dtype=np.float64) for each in self.columns}
        for each in self.columns:
            if each.may_lack is not None:
                # what has no truth is not asked, whatever a submission says of it
                given[each.name] = np.where(each.may_lack, np.nan, given[each.name])
        return {**self.table, **given}

    def contradictions(self, scores: Scores) -> int:
        """See `Reference`; nothing follows from one plain number but a choice of a pair from the other three.

        With s the score of a series and a text, both choices by image add up to s(A,a) - s(A,b) + s(B,b) - s(B,a), and
        so do both by text.
        """
        if "partner_id" not in self.key_columns:
            return 0
        margins = np.asarray(scores["margin"], dtype=np.float64)
        sums: dict[tuple[str, ...], dict[str, float]] = {}
        for (direction, sequence, study, partner), margin in zip(self.keys, margins, strict=True):
            of_pair = sums.setdefault((sequence, *sorted((study, partner))), {})
            of_pair[direction] = of_pair.get(direction, 0.0) + float(margin)
        allowed = 1e-3 * float(np.abs(margins).max(initial=0.0))
        return sum(
            abs(each["image_to_text"] - each["text_to_image"]) > allowed for each in sums.values() if len(each) == 2
        )


@dataclass(frozen=True)
class RetrievalReference:
    """The galleries of series and of whole studies.

    Attributes:
        series: Series against the texts of their sequences.
        studies: Studies against their texts; None where the benchmark has none.
    """

    series: RetrievalGallery
    studies: RetrievalGallery | None = None
    key_columns: tuple[str, ...] = field(default=("study_id", "series_id"), init=False)

    @property
    def images(self) -> tuple[GalleryImage, ...]:
        """All rows of a submission in their order: series, then studies."""
        return (*self.series.images, *(self.studies.images if self.studies else ()))

    @property
    def keys(self) -> list[Key]:
        """See `Reference`."""
        return [(image.study_id, image.series_id) for image in self.images]

    @property
    def score_columns(self) -> tuple[ScoreColumn, ...]:
        """See `Reference`."""
        widths = [len(self.series.texts)] * len(self.series.images)
        if self.studies is not None:
            widths += [len(self.studies.texts)] * len(self.studies.images)
        return (ScoreColumn("scores", widths=np.array(widths, dtype=np.int64)),)

    def cases(self, scores: Scores) -> Cases:
        """See `Reference`."""
        rows = scores["scores"]
        count = len(self.series.images)
        tables = [RetrievalEvaluator(self.series).score_matrix(np.stack(rows[:count]))]
        if self.studies is not None:
            tables.append(RetrievalEvaluator(self.studies).score_matrix(np.stack(rows[count:])))
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    def contradictions(self, scores: Scores) -> int:
        """See `Reference`; one matrix cannot contradict itself."""
        return 0


def gallery_columns(galleries: Sequence[RetrievalGallery]) -> tuple[Columns, Columns]:
    """Galleries as tables of images and of texts; text numbers count within each gallery."""
    images = [image for gallery in galleries for image in gallery.images]
    texts = [(number, text) for gallery in galleries for number, text in enumerate(gallery.texts)]
    return {
        "study_id": [image.study_id for image in images],
        "series_id": [image.series_id for image in images],
        "patient": [image.patient_id for image in images],
        "sequence": [image.sequence for image in images],
        "text": [image.text for image in images],
        "findings": [json.dumps(image.findings, ensure_ascii=False) for image in images],
    }, {
        "sequence": [text.sequence for _, text in texts],
        "number": [number for number, _ in texts],
        "text": [text.text for _, text in texts],
        "findings": [json.dumps(text.findings, ensure_ascii=False) for _, text in texts],
    }


def retrieval_reference(images: Cases, texts: Cases) -> RetrievalReference:
    """The galleries of `gallery_columns`."""
    found = [
        RetrievalGallery(
            tuple(_image(row) for row in _rows(images) if (row["sequence"] == STUDY) == is_study),
            tuple(_text(row) for row in _rows(texts) if (row["sequence"] == STUDY) == is_study),
        )
        for is_study in (False, True)
        if is_study is False or STUDY in set(images["sequence"])
    ]
    return RetrievalReference(*found)


def table_reference(task: str, table: Cases) -> TableReference:
    """The cases of a task other than retrieval.

    Raises:
        ValueError: The task is none of these.
    """
    if task == "pairs":
        keys: tuple[str, ...] = ("direction", "sequence", "study_id", "partner_id")
        columns = [ScoreColumn("margin")]
    elif task == "probe":
        keys, columns = ("study_id", "label"), [ScoreColumn("score")]
    elif task == "zero_shot":
        keys = ("study_id", "label")
        templates = int(table["templates"][0])
        columns = [
            ScoreColumn("margin"),
            ScoreColumn("probability", low=0.0, high=1.0),
            ScoreColumn("polarity_margin"),
            ScoreColumn("side_margin", may_lack=~table["is_sided"].astype(bool)),
            *(ScoreColumn(f"template_{number:02d}") for number in range(templates)),
        ]
    else:
        raise ValueError(f"expected a task among retrieval, pairs, probe, zero_shot, got {task!r}")
    columns_of_cases = {("patient_id" if name == "patient" else name): values for name, values in table.items()}
    return TableReference(columns_of_cases, keys, tuple(columns))


def _rows(columns: Cases) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _image(row: Mapping[str, Any]) -> GalleryImage:
    return GalleryImage(
        row["study_id"],
        row["patient"],
        row["series_id"],
        row["sequence"],
        int(row["text"]),
        _finding_set(json.loads(row["findings"])),
    )


def _text(row: Mapping[str, Any]) -> GalleryText:
    return GalleryText(row["sequence"], row["text"], tuple(_finding_set(each) for each in json.loads(row["findings"])))


def _finding_set(triples: Sequence[Sequence[str]]) -> FindingSet:
    return tuple((str(finding), str(site), str(side)) for finding, site, side in triples)
