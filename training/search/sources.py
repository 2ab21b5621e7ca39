"""What is embedded or scored: a file, the folder of a study or a studies table, as names of series and voxels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset, concatenate_datasets

from selip.processing.sources.nifti_study import study_fingerprint, study_of_file, study_of_folder
from selip.processing.sources.schema import StudyRow, study_features
from selip.processing.sources.studies import (
    EXPORT_INFO_NAME,
    INFO_NAME,
    SPLITS,
    iter_studies,
    load_studies,
    studies_fingerprint,
)

from ..evaluation.provenance import is_simulated
from ..evaluation.series_source import BoxedSeries, NiftiSeries, SeriesSource
from ..evaluation.task import series_source


class SourceRequest(Protocol):
    """Options that name a source; of `selip embed` and `selip predict`."""

    @property
    def source(self) -> Path:
        """File, folder of a study, or studies table."""
        ...

    @property
    def sequence(self) -> str | None:
        """MRI sequence of a file."""
        ...

    @property
    def volumes(self) -> Path | None:
        """Volumes table of a studies table."""
        ...

    @property
    def split(self) -> str:
        """Of a studies table: all, train, validation or test."""
        ...


@dataclass(frozen=True)
class SourceSeries:
    """Names of one series."""

    study_id: str
    series_id: str
    sequence: str


@dataclass(frozen=True)
class SourceStudy:
    """Names of one study and its series; `patient_id` is None where nobody knows it."""

    study_id: str
    patient_id: str | None
    series: tuple[SourceSeries, ...]


@dataclass(frozen=True)
class EmbedSource:
    """What is embedded or scored.

    Attributes:
        kind: file, folder or table.
        fingerprint: Of the names and sizes of a file or folder, or of the table.
        studies: In their order.
        series: Where their voxels come from.
        quarantined: What was left out before any voxel was read: study_id, series_id, reason.
        volumes: volumes table or NIfTI files.
        simulated: Whether the studies are known to be simulated.
    """

    kind: str
    fingerprint: str
    studies: Sequence[SourceStudy]
    series: SeriesSource
    quarantined: Sequence[dict[str, str]] = ()
    volumes: str = "NIfTI files"
    simulated: bool = False


class RecordingSource:
    """A source that remembers which series could not be had, and why."""

    def __init__(self, source: SeriesSource) -> None:
        self.source = source
        self.quarantined: list[dict[str, str]] = []

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """See `SeriesSource`."""
        found = self.source.study(study_id, series_ids)
        self.quarantined += [
            {"study_id": study_id, "series_id": series_id, "reason": item}
            for series_id, item in found.items()
            if isinstance(item, str)
        ]
        return found


def open_source(config: SourceRequest, image_processor: Any) -> EmbedSource:
    """Sort out what kind of source it is, and list its series.

    Args:
        config: The request.
        image_processor: The checkpoint's own.

    Raises:
        FileNotFoundError: There is nothing at `source`.
        ValueError: It cannot be used (see `study_of_file`, `study_of_folder`, `series_source`), the split is empty, or
            an option does not go with this kind of source.
    """
    source = config.source
    if any((source / name).is_file() for name in (INFO_NAME, EXPORT_INFO_NAME)):
        _refuse(config, "a studies table", sequence=config.sequence)
        return _table(config, image_processor)
    split = None if config.split == "all" else config.split
    if source.is_dir():
        _refuse(config, "the folder of a study", sequence=config.sequence, volumes=config.volumes, split=split)
        row, skips = study_of_folder(source)
        left_out = [
            {"study_id": row["study_id"], "series_id": where, "reason": reason} for _, where, reason in skips.items
        ]
        return source_of_study("folder", row, image_processor, left_out)
    _refuse(config, "a single file", volumes=config.volumes, split=split)
    if not source.exists():
        raise FileNotFoundError(f"expected a NIfTI file, a study folder or a studies table, found nothing at {source}")
    return source_of_study("file", study_of_file(source, config.sequence), image_processor)


def _refuse(config: SourceRequest, kind: str, **options: object) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"expected no --{given[0]} with {kind} ({config.source}); leave it out")


def source_of_study(
    kind: str, row: StudyRow, image_processor: Any, quarantined: Sequence[dict[str, str]] = ()
) -> EmbedSource:
    """One study of NIfTI files as a source.

    Args:
        kind: file or folder.
        row: As `study_of_file` or `study_of_folder` makes it.
        image_processor: The checkpoint's own.
        quarantined: What was left out already.
    """
    cells = [{**entry, "volume": {"path": str(entry["volume"]), "bytes": None}} for entry in row["series"]]
    studies = Dataset.from_list([{**row, "series": cells}], features=study_features())
    return EmbedSource(
        kind=kind,
        fingerprint=study_fingerprint(row),
        studies=[_names(row)],
        series=NiftiSeries(studies, image_processor),
        quarantined=quarantined,
    )


def _table(config: SourceRequest, image_processor: Any) -> EmbedSource:
    splits = load_studies(config.source)
    chosen = SPLITS if config.split == "all" else (config.split,)
    parts = [splits[name] for name in chosen if len(splits[name])]
    if not parts:
        raise ValueError(f"expected studies in split {config.split}, got none in {config.source}")
    studies = parts[0] if len(parts) == 1 else concatenate_datasets(parts)
    return EmbedSource(
        kind="table",
        fingerprint=studies_fingerprint(config.source),
        studies=list(_table_names(studies)),
        series=series_source(studies, config.source, config.volumes, image_processor),
        volumes="NIfTI files" if config.volumes is None else "volumes table",
        simulated=is_simulated(config.source),
    )


def _table_names(studies: Dataset) -> Iterator[SourceStudy]:
    return (_names(row) for row in iter_studies(studies))


def _names(row: StudyRow) -> SourceStudy:
    series = (SourceSeries(row["study_id"], item["series_id"], item["sequence"]) for item in row["series"])
    return SourceStudy(row["study_id"], row["patient_id"] or None, tuple(series))
