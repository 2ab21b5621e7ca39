"""What must not be on both sides of a split: a patient, an image. An evaluation refuses studies that leak.

Texts are counted, not refused: two reports of normal studies often have the same words.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..volumes import VolumesTable

_NAMED = 3
StudyIds = dict[Any, list[str]]


def count_leaks(splits: Mapping[str, Dataset], split: str, table: VolumesTable | None) -> dict[str, int]:
    """Check that nothing of the evaluated split was there to learn from.

    Volumes that stand inside a table are compared by their bytes; only those are read whose length is that of one on
    the other side, which few are.

    Args:
        splits: All studies by split.
        split: The split that is evaluated; the others are looked at.
        table: Volumes table; where there is one, prepared volumes are compared too.

    Returns:
        `texts`: studies of the split whose findings section another split has word for word.

    Raises:
        ValueError: A patient, an image file or a prepared volume is in another split too.
    """
    if split == "train":
        return {"texts": 0}
    here, elsewhere = _Seen(), _Seen()
    for name, studies in splits.items():
        (here if name == split else elsewhere).add(studies)
    _refuse("patients", split, here.patients, elsewhere.patients)
    _refuse("files", split, here.files, elsewhere.files)
    embedded = [
        _digests(seen.embedded, here.embedded.keys() & elsewhere.embedded.keys()) for seen in (here, elsewhere)
    ]
    _refuse("files", split, *embedded)
    if table is not None:
        _refuse("volumes", split, *_volumes(table, split))
    shared = set(here.texts) & set(elsewhere.texts)
    return {"texts": sum(len(here.texts[text]) for text in shared)}


@dataclass(frozen=True)
class _Embedded:
    """A volume inside a studies table: where it is, not what it holds."""

    studies: Dataset
    row: int
    place: int
    study_id: str

    def digest(self) -> bytes:
        """The bytes are hashed where they lie, in the mapped file."""
        data = pc.struct_field(_series(self.studies[self.row]), ["volume", "bytes"])[self.place].as_buffer()
        return hashlib.sha256(data).digest()


class _Seen:
    """Study ids by patient, by path of an image file and by text (as a digest); embedded volumes by their length."""

    def __init__(self) -> None:
        self.patients: StudyIds = defaultdict(list)
        self.files: StudyIds = defaultdict(list)
        self.texts: StudyIds = defaultdict(list)
        self.embedded: dict[int, list[_Embedded]] = defaultdict(list)

    def add(self, studies: Dataset) -> None:
        """The studies of one split, row by row: one with its volumes inside can have 100 MB."""
        studies = studies.select_columns(["study_id", "patient_id", "series", "report"]).with_format("arrow")
        for number, row in enumerate(studies.iter(batch_size=1)):
            self._add(studies, number, row)

    def _add(self, studies: Dataset, number: int, row: pa.Table) -> None:
        study = row.drop_columns("series").to_pylist()[0]
        study_id = study["study_id"]
        self.patients[study["patient_id"]].append(study_id)
        series = _series(row)
        lengths = pc.binary_length(pc.struct_field(series, ["volume", "bytes"])).to_pylist()
        paths = pc.struct_field(series, ["volume", "path"]).to_pylist()
        for place, (length, path) in enumerate(zip(lengths, paths, strict=True)):
            if length is not None:
                self.embedded[length].append(_Embedded(studies, number, place, study_id))
            elif path:
                self.files[path].append(study_id)
        text = (study["report"]["findings"] or "").strip()
        if text:
            self.texts[hashlib.sha256(text.encode()).digest()].append(study_id)


def _series(row: pa.Table) -> pa.StructArray:
    """The series of a table of one study, as views: nothing is copied."""
    return row.column("series").chunk(0).flatten()


def _digests(embedded: Mapping[int, list[_Embedded]], lengths: Iterable[int]) -> StudyIds:
    """Study ids by digest of an embedded volume, of those with these lengths."""
    found: StudyIds = defaultdict(list)
    for length in lengths:
        for volume in embedded[length]:
            found[volume.digest()].append(volume.study_id)
    return found


def _volumes(table: VolumesTable, split: str) -> tuple[StudyIds, StudyIds]:
    """Study ids by digest of a prepared volume, here and elsewhere; only lengths that both have are read."""
    ours = set(table.study_ids(split))
    rows: dict[bool, dict[int, list[tuple[int, str]]]] = {True: defaultdict(list), False: defaultdict(list)}
    for study_id in table.study_ids():
        for series in table.series_of(study_id):
            rows[study_id in ours][table.stored(series.row).size].append((series.row, study_id))
    found: dict[bool, StudyIds] = {True: defaultdict(list), False: defaultdict(list)}
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
