"""One study for a command that writes onto its own grids: a NIfTI file, a folder, or a study of a table by its id."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from selip.processing.atomic_files import replacing
from selip.processing.sources.nifti_study import study_of_file, study_of_folder
from selip.processing.sources.schema import SkipLog, StudyRow, study_features
from selip.processing.sources.studies import EXPORT_INFO_NAME, INFO_NAME, iter_studies, load_studies

from .evaluation.series_source import BoxedSeries, NiftiSeries


@dataclass(frozen=True)
class OneStudy:
    """A study on its box.

    Attributes:
        study_id: Its id.
        series: What could be read, by series id.
        sequences: MRI sequence of every series, by series id.
        volumes: Where the voxels of every series are, as `read_volume` takes it, by series id.
        left_out: Why others were not read, by their name.
    """

    study_id: str
    series: Mapping[str, BoxedSeries]
    sequences: Mapping[str, str]
    volumes: Mapping[str, Any]
    left_out: Mapping[str, str]


def open_study(
    source: Path, image_processor: Any, *, sequence: str | None = None, study: str | None = None
) -> OneStudy:
    """Read a study and bring its series to the study box.

    Args:
        source: NIfTI file; folder of one study; or a studies table.
        image_processor: The checkpoint's own.
        sequence: MRI sequence of a single file; None: what its name says.
        study: Id of the study of a table.

    Raises:
        FileNotFoundError: There is nothing at `source`.
        ValueError: It cannot be used, an option does not go with this kind of source, or no series can be used.
    """
    row, skips = _row(source, sequence, study)
    studies = Dataset.from_list([dict(row)], features=study_features())
    names = [entry["series_id"] for entry in row["series"]]
    found = NiftiSeries(studies, image_processor).study(row["study_id"], names) if names else {}
    series = {name: each for name, each in found.items() if isinstance(each, BoxedSeries)}
    left_out = {where: reason for _, where, reason in skips.items}
    left_out |= {name: each for name, each in found.items() if isinstance(each, str)}
    if not series:
        raise ValueError(f"expected a usable series in {source}, got none ({left_out})")
    return OneStudy(
        study_id=row["study_id"],
        series=series,
        sequences={entry["series_id"]: entry["sequence"] for entry in row["series"]},
        volumes={entry["series_id"]: entry["volume"] for entry in row["series"]},
        left_out=left_out,
    )


def write_image(image: Any, path: Path) -> None:
    """Write a nibabel image as .nii or .nii.gz, atomically."""
    with replacing(path) as partial:
        # nibabel goes by the ending of the name
        ending = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
        named = partial.with_name(partial.name + ending)
        image.to_filename(named)
        named.replace(partial)


def _row(source: Path, sequence: str | None, study: str | None) -> tuple[StudyRow, SkipLog]:
    """The row of the study, its volumes as cells of a studies table."""
    is_table = any((source / name).is_file() for name in (INFO_NAME, EXPORT_INFO_NAME))
    if is_table != (study is not None):
        raise ValueError(f"expected --study ID with a studies table and with nothing else, got {study} with {source}")
    if sequence is not None and source.is_dir():
        raise ValueError("expected no --sequence with a folder, whose files are told by their names; leave it out")
    if study is not None:
        return _row_of_table(source, study), SkipLog()
    row, skips = study_of_folder(source) if source.is_dir() else (study_of_file(source, sequence), SkipLog())
    cells: Any = [{**entry, "volume": {"path": str(entry["volume"]), "bytes": None}} for entry in row["series"]]
    return {**row, "series": cells}, skips


def _row_of_table(source: Path, study: str) -> StudyRow:
    for studies in load_studies(source).values():
        places = [place for place, name in enumerate(studies["study_id"]) if name == study]
        if places:
            return next(iter(iter_studies(studies.select(places))))
    raise ValueError(f"expected the id of a study of {source} in --study, got {study}")
