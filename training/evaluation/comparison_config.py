"""Options of `selip compare`. Standard library only."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class CompareConfig:
    """`selip compare`: the difference of two evaluations on the same studies, with its interval."""

    first: tuple[Path, ...] = field(
        metadata={
            "help": "Result file of `selip evaluate`, or several with commas between: those of one system trained "
            "with several seeds. Tables of cases are read beside them."
        }
    )
    second: tuple[Path, ...] = field(
        metadata={
            "help": "Result file(s) of the system it is compared with, as many; the difference is first - second."
        }
    )
    out: Path | None = field(
        default=None, metadata={"help": "JSON file with all metrics; none is written without it."}
    )
    metric: str = field(
        default="",
        metadata={
            "help": "Metrics that are shown: those whose name holds these words, e.g. recall@1 or FLAIR. Without it: "
            "the primary one and those of its kind."
        },
    )
    bootstrap_samples: int = field(
        default=2000, metadata={"help": "Draws of patients (and seeds) behind each interval."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the draws."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a file of the same name."})

    def __post_init__(self) -> None:
        if self.bootstrap_samples < 100:
            raise ValueError(f"expected bootstrap_samples of at least 100, got {self.bootstrap_samples}")
        if self.out is not None and self.out.suffix != ".json":
            raise ValueError(f"expected out to end in .json, got {self.out.name}")
