"""What `selip prepare` takes. Standard library only, so that `--help` stays quick."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class PrepareConfig:
    """Options of `selip prepare`. The help text of each field is its documentation."""

    studies: Path = field(metadata={"help": "folder of a studies table, or of an export of one"})
    out: Path = field(metadata={"help": "folder for the volumes table (volumes-*.arrow, volumes.json)"})
    size: Literal["tiny", "base"] = field(
        default="tiny",
        metadata={"help": "study box: tiny = 72x88x24 at 2.5x2.5x6 mm, base = 224x224x48 at 1x1x3.5 mm"},
    )
    num_proc: int | None = field(default=None, metadata={"help": "processes; none = one a core"})
    overwrite: bool = field(
        default=False, metadata={"help": "replace a table in out, also an unfinished one of other settings"}
    )
    max_bad_fraction: float = field(
        default=0.2, metadata={"help": "stop with an error above this share of unusable series, 0 to 1"}
    )

    def __post_init__(self) -> None:
        if self.num_proc is not None and self.num_proc < 1:
            raise ValueError(f"num_proc: expected at least 1, got {self.num_proc}")
        if not 0.0 <= self.max_bad_fraction <= 1.0:
            raise ValueError(f"max_bad_fraction: expected a number in [0, 1], got {self.max_bad_fraction}")
