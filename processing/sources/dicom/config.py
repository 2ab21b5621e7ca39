"""Options of converting DICOM. Standard library only: `selip --help` reads it."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DicomConfig:
    """Options of `selip convert-dicom`. The help text of each field is its documentation."""

    directory: Path = field(
        metadata={"help": "folder of DICOM files, in any folders and under any names; it is read, never changed"}
    )
    out: Path = field(
        metadata={
            "help": "BIDS folder; studies that it has are left as they are, so that the same command adds new ones"
        }
    )
    reports: Path | None = field(
        default=None,
        metadata={
            "help": "reports (.csv, .jsonl or .parquet) with the columns text and accession_number or study_uid; "
            "studies without one are left out. Without this option all studies go, without reports"
        },
    )
    private: Path | None = field(
        default=None,
        metadata={
            "help": "folder for what leads back to patients: the key of the pseudonyms, which study is which, how "
            "series are called; OUT.private beside OUT if not given. Keep it as you keep the archive"
        },
    )
    num_proc: int = field(default=1, metadata={"help": "series converted at once"})
    overwrite: bool = field(
        default=False,
        metadata={"help": "convert studies anew whose files, report or decided names have changed"},
    )

    def __post_init__(self) -> None:
        if self.num_proc < 1:
            raise ValueError(f"num_proc: expected at least 1, got {self.num_proc}")

    @property
    def private_folder(self) -> Path:
        """Where the key and the names are."""
        return self.out.with_name(f"{self.out.name}.private") if self.private is None else self.private
