"""Where boxed series come from: the volumes table, or the NIfTI files through the checkpoint's own processor.

Either way a series lies on the box of its whole study, with the same voxels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from selip.processing.image_processing_selip import SeriesInput
from selip.processing.intensity_selip import dequantise, quantise
from selip.processing.nifti_selip import VolumeError


@dataclass(frozen=True)
class BoxedSeries:
    """One series on the box of its study.

    Attributes:
        volume: float32 (X, Y, Z) in [0, 1].
        sequence_id: Number of the sequence.
        affine: float64 (4, 4), box voxel to scanner mm.
        patch_mask: bool (X / px, Y / py, Z / pz), the patches that touch the head of its study.
    """

    volume: npt.NDArray[np.float32]
    sequence_id: int
    affine: npt.NDArray[np.float64]
    patch_mask: npt.NDArray[np.bool_]


class NamedSeries(Protocol):
    """Anything that names a series of a study."""

    @property
    def study_id(self) -> str:
        """The study."""
        ...

    @property
    def series_id(self) -> str:
        """The series, unique within its study."""
        ...

    @property
    def sequence(self) -> str:
        """Its MRI sequence."""
        ...


class SeriesSource(Protocol):
    """Where boxed series come from."""

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """The named series of one study by id; a series that cannot be had is the reason why, as text."""
        ...


class PreparedSeries:
    """Series from a volumes table.

    Args:
        table: `VolumesTable`.
        image_processor: The checkpoint's own; the table must have been prepared for the same box.

    Raises:
        ValueError: Table and checkpoint differ in box, patches or sequence names.
    """

    def __init__(self, table: Any, image_processor: Any) -> None:
        for key in ("spatial_size", "spacing_mm", "patch_size", "sequence_names"):
            ours, theirs = getattr(image_processor, key), table.processor_config[key]
            if list(ours) != list(theirs):
                raise ValueError(
                    f"expected volumes prepared with {key} {list(ours)} as the checkpoint's processor has, got "
                    f"{list(theirs)}; prepare them again, or leave volumes out to read the NIfTI files"
                )
        self.table = table
        self.known = frozenset(table.study_ids())

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """See `SeriesSource`."""
        rows = {row.series_id: row for row in self.table.series_of(study_id)} if study_id in self.known else {}
        found: dict[str, BoxedSeries | str] = {}
        for series_id in series_ids:
            if series_id not in rows:
                found[series_id] = "not in the volumes table"
                continue
            row = rows[series_id]
            volume = dequantise(self.table.read(row.row))
            patch_mask = self.table.head_patches([row.row])[0]
            found[series_id] = BoxedSeries(volume, int(row.sequence_id), self.table.affine(row.row), patch_mask)
        return found


class NiftiSeries:
    """Series from the NIfTI files of a studies table, through the checkpoint's own processor.

    Args:
        studies: One split of `load_studies`.
        image_processor: The checkpoint's own.
    """

    def __init__(self, studies: Dataset, image_processor: Any) -> None:
        self.image_processor = image_processor
        self.rows = studies.with_format("arrow")
        self.position = {study_id: place for place, study_id in enumerate(studies["study_id"])}

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """See `SeriesSource`. As in preparation: unusable series are left out, values are rounded to 8 bits."""
        cells = self.rows[self.position[study_id]].to_pylist()[0]["series"]
        inputs = [SeriesInput(cell["volume"], cell["sequence"], cell["series_id"]) for cell in cells]
        try:
            boxed = self.image_processor.process_study(inputs, study_id, skip_invalid=True)
        except VolumeError as error:
            return {series_id: f"unusable volume ({error.reason})" for series_id in series_ids}
        found: dict[str, BoxedSeries | str] = {
            inputs[place].series_id: f"unusable volume ({error.reason})" for place, error in boxed.errors
        }
        for place, volume, sequence_id in zip(boxed.kept, boxed.volumes, boxed.sequence_ids, strict=True):
            stored = dequantise(quantise(volume))
            patch_mask = boxed.patch_counts > 0
            found[inputs[place].series_id] = BoxedSeries(stored, int(sequence_id), boxed.affine, patch_mask)
        return {series_id: found[series_id] for series_id in series_ids}


@dataclass(frozen=True)
class StudySeries:
    """One series of a study."""

    study_id: str
    patient_id: str
    series_id: str
    sequence: str


def series_of(rows: Iterable[Mapping[str, Any]]) -> list[StudySeries]:
    """Every series of some studies, those of one study side by side."""
    return [
        StudySeries(str(row["study_id"]), str(row["patient_id"]), str(each["series_id"]), str(each["sequence"]))
        for row in rows
        for each in row["series"]
    ]


def boxed_series(source: SeriesSource, names: Sequence[NamedSeries]) -> Iterator[tuple[int, BoxedSeries | str]]:
    """Index and series (or why it cannot be had, as text) in the order of the names, one study at a time.

    Args:
        source: Where the series come from.
        names: The series; those of one study side by side.
    """
    start = 0
    while start < len(names):
        study_id, stop = names[start].study_id, start
        while stop < len(names) and names[stop].study_id == study_id:
            stop += 1
        series_ids = [image.series_id for image in names[start:stop]]
        found = source.study(study_id, series_ids)
        for offset, series_id in enumerate(series_ids):
            yield start + offset, found[series_id]
        start = stop
