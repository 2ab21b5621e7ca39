"""What must not be on both sides of a split: a patient, an image. An evaluation refuses studies that leak.

Texts are counted, not refused: two reports of normal studies often have the same words.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from datasets import Dataset

from selip.processing.sources.studies import iter_studies

from ..volumes import VolumesTable

_NAMED = 3


def count_leaks(splits: Mapping[str, Dataset], split: str, table: VolumesTable | None) -> dict[str, int]:
    """Check that nothing of the evaluated split was there to learn from.

    Args:
        splits: All studies by split.
        split: The split that is evaluated; the others are looked at.
        table: Volumes table; where there is one, prepared volumes are compared by their bytes.

    Returns:
        `texts`: studies of the split whose findings section another split has word for word.

    Raises:
        ValueError: A patient, an image file or a prepared volume is in another split too.
    """
    if split == "train":
        return {"texts": 0}
    here, elsewhere = _Seen(), _Seen()
    for name, studies in splits.items():
        for row in _without_voxels(studies):
            (here if name == split else elsewhere).add(row)
    for what in ("patients", "files"):
        _refuse(what, split, getattr(here, what), getattr(elsewhere, what))
    if table is not None:
        _refuse("volumes", split, *_volumes(table, split))
    shared = set(here.texts) & set(elsewhere.texts)
    return {"texts": sum(len(here.texts[text]) for text in shared)}


class _Seen:
    """Study ids by patient, by image file and by text (as a digest)."""

    def __init__(self) -> None:
        self.patients: dict[Any, list[str]] = defaultdict(list)
        self.files: dict[Any, list[str]] = defaultdict(list)
        self.texts: dict[Any, list[str]] = defaultdict(list)

    def add(self, row: Mapping[str, Any]) -> None:
        self.patients[row["patient_id"]].append(row["study_id"])
        for series in row["series"]:
            cell = series["volume"]
            if cell["bytes"] is not None:
                self.files[hashlib.sha256(cell["bytes"]).digest()].append(row["study_id"])
            elif cell["path"]:
                self.files[cell["path"]].append(row["study_id"])
        text = (row["report"]["findings"] or "").strip()
        if text:
            self.texts[hashlib.sha256(text.encode()).digest()].append(row["study_id"])


def _without_voxels(studies: Dataset) -> Iterator[Mapping[str, Any]]:
    return iter_studies(studies.select_columns(["study_id", "patient_id", "series", "report"]))


def _volumes(table: VolumesTable, split: str) -> tuple[dict[Any, list[str]], dict[Any, list[str]]]:
    """Study ids by digest of a prepared volume, here and elsewhere; only lengths that both have are read."""
    ours = set(table.study_ids(split))
    rows: dict[bool, dict[int, list[tuple[int, str]]]] = {True: defaultdict(list), False: defaultdict(list)}
    for study_id in table.study_ids():
        for series in table.series_of(study_id):
            rows[study_id in ours][table.stored(series.row).size].append((series.row, study_id))
    found: dict[bool, dict[Any, list[str]]] = {True: defaultdict(list), False: defaultdict(list)}
    for length in rows[True].keys() & rows[False].keys():
        for is_here in (True, False):
            for row, study_id in rows[is_here][length]:
                found[is_here][hashlib.sha256(table.stored(row)).digest()].append(study_id)
    return found[True], found[False]


def _refuse(what: str, split: str, here: Mapping[Any, list[str]], elsewhere: Mapping[Any, list[str]]) -> None:
    """Raise where both sides have something in common; studies are named by id, never patients."""
    shared = [key for key in here if key in elsewhere]
    if not shared:
        return
    studies = sorted({study_id for key in shared for study_id in here[key]})
    more = ", ..." if len(studies) > _NAMED else ""
    raise ValueError(
        f"expected {what} of split {split} in no other split, got {len(shared)} in both, with {len(studies)} studies "
        f"of {split} ({', '.join(studies[:_NAMED])}{more}); split by patient, and remove copies, before evaluating"
    )
