"""Options of `selip predict`. Standard library only: `selip --help` reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ENDINGS = (".parquet", ".json", ".csv")


@dataclass(frozen=True)
class PredictConfig:
    """Options of `selip predict`. The help text of each field is its documentation."""

    checkpoint: Path = field(
        metadata={
            "help": "Folder of a checkpoint: of `selip pretrain` (labels by the prompts of `protocol`), or of "
            "`selip finetune` for classification (its own labels)."
        }
    )
    source: Path = field(
        metadata={
            "help": "A NIfTI file; the folder of one study (all NIfTI in it, sequences told from BIDS names, else "
            "`unknown`); or a studies table, as `selip ingest` writes it."
        }
    )
    out: Path = field(metadata={"help": "File for the scores (.parquet, .json or .csv), one row a study and label."})
    protocol: str | None = field(
        default=None,
        metadata={
            "help": "Labels and prompts, with a checkpoint of `selip pretrain`: the name of a shipped protocol "
            "(simulated, simulated-zh, simulated-simple, mrrate-37, mrrate-head, pub-brain-5) or a YAML file."
        },
    )
    labels: tuple[str, ...] = field(
        default=(), metadata={"help": "Labels of the protocol that are asked for, with commas. Without it: all."}
    )
    calibrate_on: Path | None = field(
        default=None,
        metadata={
            "help": "Result file of `selip evaluate --split validation` with this checkpoint, task zero_shot (same "
            "protocol) or classification: its cases turn scores into probabilities. Without it: scores alone."
        },
    )
    sequence: str | None = field(
        default=None, metadata={"help": "MRI sequence of a single file, e.g. FLAIR; without it told from its name."}
    )
    volumes: Path | None = field(
        default=None, metadata={"help": "Volumes table of a studies table; without one the NIfTI files are read."}
    )
    split: Literal["all", "train", "validation", "test"] = field(
        default="all", metadata={"help": "Studies of a table that are scored."}
    )
    batch_size: int = field(default=16, metadata={"help": "Series read at once; a study is never divided."})
    overwrite: bool = field(
        default=False, metadata={"help": "Replace scores that are already there, also unfinished other ones."}
    )

    def __post_init__(self) -> None:
        if self.out.suffix not in ENDINGS:
            raise ValueError(f"expected out to end in {', '.join(ENDINGS)}, got {self.out.name}")
        if self.batch_size < 1:
            raise ValueError(f"expected batch_size of at least 1, got {self.batch_size}")
        if self.labels and self.protocol is None:
            raise ValueError("expected labels with a protocol only; a checkpoint with a head has its own")
