"""Options of reading sources and of exporting the studies table. Standard library only: `selip --help` reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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

    studies: Path = field(
        metadata={"help": "folder of a studies table, or a .jsonl, .csv or .parquet file of report texts"}
    )
    out: Path = field(
        metadata={"help": "findings table (.parquet), or for a file of texts a file of the same kind with findings"}
    )
    structurer: str = field(
        default="rules",
        metadata={
            "help": "rules; a folder or Hub id of a tuned language model; or the URL of an OpenAI-compatible server, "
            "e.g. http://localhost:8000/v1"
        },
    )
    base: str | None = field(
        default=None,
        metadata={
            "help": "folder or Hub id of the base model of an adapter; without it the one that the adapter names, "
            "from the Hub or its cache"
        },
    )
    text_column: str = field(default="text", metadata={"help": "column with whole reports, in a file of texts"})
    language: Literal["auto", "en", "zh"] = field(
        default="auto",
        metadata={"help": "of a file of texts; auto: its column `language`, else told by the script of each text"},
    )
    deidentify: bool = field(
        default=False,
        metadata={"help": "replace what looks like names, dates, ids or phone numbers in a file of texts, output too"},
    )
    num_proc: int = field(default=1, metadata={"help": "processes, for the rules"})
    batch_size: int = field(default=16, metadata={"help": "reports at once, for a language model of this machine"})
    model: str | None = field(
        default=None, metadata={"help": "model asked of a server; the first that it lists if not given"}
    )
    concurrency: int = field(default=16, metadata={"help": "requests at once, for a server"})
    timeout_s: float = field(default=120.0, metadata={"help": "seconds that an answer of a server may take"})
    shard_index: int = field(default=0, metadata={"help": "number of this run among num_shards, from 0"})
    num_shards: int = field(
        default=1,
        metadata={"help": "runs that share the work, e.g. of a job array; the last to finish writes the output"},
    )
    overwrite: bool = field(default=False, metadata={"help": "replace an output that is already there"})

    def __post_init__(self) -> None:
        for name in ("num_proc", "batch_size", "concurrency", "num_shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 <= self.shard_index < self.num_shards:
            raise ValueError(f"expected shard_index from 0 to {self.num_shards - 1}, got {self.shard_index}")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s: expected more than 0, got {self.timeout_s}")
