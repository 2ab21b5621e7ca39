"""Options of reading sources and of exporting the studies table. Standard library only: `selip --help` reads it."""

from dataclasses import dataclass, field
from pathlib import Path

from .splits import DEFAULT_FRACTIONS, DEFAULT_SALT, check_fractions


@dataclass(frozen=True)
class IngestConfig:
    """Options of `selip ingest bids`. The help text of each field is its documentation."""

    directory: Path = field(metadata={"help": "BIDS folder: sub-*/[ses-*/]{anat,dwi,...}/*.nii[.gz] and *_report.txt"})
    out: Path = field(metadata={"help": "folder for the studies table (studies.arrow, studies.json, skipped.tsv)"})
    split_salt: str = field(
        default=DEFAULT_SALT,
        metadata={
            "help": "text hashed with the patient id to choose the split; another salt gives another split. "
            "A column `split` in participants.tsv comes before it"
        },
    )
    fractions: tuple[float, float, float] = field(
        default=DEFAULT_FRACTIONS, metadata={"help": "shares of patients in train, validation, test, summing to 1"}
    )
    deidentify: bool = field(
        default=False,
        metadata={
            "help": "put placeholders in the place of names, dates, record and telephone numbers in the reports; the "
            "summary counts them by kind. Finds what has the form of one, not all (docs/report_reading.md)"
        },
    )
    overwrite: bool = field(default=False, metadata={"help": "replace a studies table that is already in out"})

    def __post_init__(self) -> None:
        check_fractions(self.fractions)


@dataclass(frozen=True)
class ExportConfig:
    """Options of `selip export-parquet`. The help text of each field is its documentation."""

    studies: Path = field(metadata={"help": "folder of a studies table"})
    out: Path = field(metadata={"help": "new folder for the Parquet shards and the README with `configs`"})
    shard_mb: int = field(default=300, metadata={"help": "size in MB at which a shard is closed"})
    overwrite: bool = field(default=False, metadata={"help": "replace an export that is already in out"})

    def __post_init__(self) -> None:
        if self.shard_mb < 1:
            raise ValueError(f"shard_mb: expected at least 1, got {self.shard_mb}")


@dataclass(frozen=True)
class StructureConfig:
    """Options of `selip structure`. The help text of each field is its documentation."""

    studies: Path = field(metadata={"help": "folder of a studies table"})
    out: Path = field(metadata={"help": "Parquet file for the findings table, one row a study"})
    overwrite: bool = field(default=False, metadata={"help": "replace a findings table that is already at out"})
