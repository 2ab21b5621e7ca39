"""Options of `selip annotate`. Standard library only: `selip --help` reads it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

READER_CODE = r"[A-Za-z0-9]{1,8}"


@dataclass(frozen=True)
class AnnotateSampleConfig:
    """Options of `selip annotate sample`. The help text of each field is its documentation."""

    dataset: Path = field(
        metadata={
            "help": "Where the reports are: a studies table, or a file (.jsonl, .parquet, .csv) with the columns "
            "id, language, and findings and impression, or text."
        }
    )
    out: Path = field(metadata={"help": "File for the sample (.jsonl); it holds the texts."})
    reports: int = field(default=100, metadata={"help": "Reports to draw, at most one of each patient."})
    findings: Path | None = field(
        default=None,
        metadata={"help": "Findings table of these reports, to draw by; without one the rules read them now."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of the draw."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a sample of the same name."})

    def __post_init__(self) -> None:
        if self.reports < 1:
            raise ValueError(f"expected reports of at least 1, got {self.reports}")
        _check_suffix("out", self.out, ".jsonl")


@dataclass(frozen=True)
class AnnotateExportConfig:
    """Options of `selip annotate export`. The help text of each field is its documentation."""

    sample: Path = field(
        metadata={"help": "Sample (.jsonl), as `selip annotate sample` writes it, or adjudication list."}
    )
    out: Path = field(metadata={"help": "Folder for the pages, batch-01.html and so on; they hold the texts."})
    batch_size: int = field(default=25, metadata={"help": "Reports on a page."})
    blind: bool = field(
        default=False,
        metadata={"help": "Start from empty lists, so that readers are not led by what the rules found."},
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace pages of the same names."})

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"expected batch_size of at least 1, got {self.batch_size}")


@dataclass(frozen=True)
class AnnotateImportConfig:
    """Options of `selip annotate import`. The help text of each field is its documentation."""

    saved: tuple[Path, ...] = field(
        metadata={"help": "Files that one reader saved from the pages (.json), with commas between them."}
    )
    sample: Path = field(metadata={"help": "The sample (.jsonl) that the pages were made of."})
    out: Path = field(metadata={"help": "File for the gold findings (.jsonl)."})
    overwrite: bool = field(default=False, metadata={"help": "Replace gold findings of the same name."})

    def __post_init__(self) -> None:
        if not self.saved:
            raise ValueError("expected at least one saved file, got none")
        _check_suffix("out", self.out, ".jsonl")


@dataclass(frozen=True)
class AnnotateAgreeConfig:
    """Options of `selip annotate agree`. The help text of each field is its documentation."""

    first: Path = field(metadata={"help": "Gold findings of one reader (.jsonl), from `selip annotate import`."})
    second: Path = field(metadata={"help": "Gold findings of another reader on the same reports."})
    out: Path = field(
        metadata={
            "help": "Result file (.json); the adjudication list is put beside it: OUT.adjudicate.jsonl, which "
            "`selip annotate export` takes, and OUT.html, on which to look at it."
        }
    )
    bootstrap_samples: int = field(
        default=1000, metadata={"help": "Draws of patients behind each interval; 0: no intervals."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a result of the same name."})

    def __post_init__(self) -> None:
        if self.bootstrap_samples < 0:
            raise ValueError(f"expected bootstrap_samples of at least 0, got {self.bootstrap_samples}")
        _check_suffix("out", self.out, ".json")


def check_reader_code(code: object) -> str:
    """A reader's code, which is no name.

    Raises:
        ValueError: It is not one.
    """
    if not isinstance(code, str) or not re.fullmatch(READER_CODE, code):
        raise ValueError("expected a reader code of 1 to 8 letters and digits, such as R1")
    return code


def _check_suffix(name: str, path: Path, suffix: str) -> None:
    if path.suffix != suffix:
        raise ValueError(f"expected {name} to end in {suffix}, got {path.name}")
