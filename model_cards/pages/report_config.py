"""Options of `selip report`. Standard library only: `selip --help` reads it."""

from dataclasses import dataclass, field
from pathlib import Path

MOST_CASES = 1000


@dataclass(frozen=True)
class ReportConfig:
    """Options of `selip report`. The help text of each field is its documentation."""

    results: tuple[Path, ...] = field(
        metadata={
            "help": "Result files of `selip evaluate` or `selip missing`, of one checkpoint, with commas. Tables of "
            "cases and pictures are taken from beside them."
        }
    )
    out: Path = field(metadata={"help": "Page to write (.html): one file, offline."})
    datasets: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Data sets that the studies come from, with commas. Where one is given by agreement, or the table "
            "of terms does not know it, no picture is on the page, as on cards."
        },
    )
    cases: int = field(
        default=MOST_CASES, metadata={"help": "Cases of each result that are listed, the worst first; 0: none."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a page that is already there."})

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("expected at least one result file, got none")
        if self.out.suffix != ".html":
            raise ValueError(f"expected out to end in .html, got {self.out.name}")
        if self.cases < 0:
            raise ValueError(f"expected cases of at least 0, got {self.cases}")
