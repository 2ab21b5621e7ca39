"""Options of structuring. Standard library only: `selip --help` reads it."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class StructureConfig:
    """Options of `selip structure`. The help text of each field is its documentation."""

    studies: Path = field(metadata={"help": "folder of a studies table"})
    out: Path = field(metadata={"help": "findings table to write, a .parquet file"})
    overwrite: bool = field(default=False, metadata={"help": "replace a findings table of that name"})

    def __post_init__(self) -> None:
        if self.out.suffix != ".parquet":
            raise ValueError(f"expected out to end in .parquet, got {self.out.name}")
