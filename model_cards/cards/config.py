"""Options of `selip card`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class CardConfig:
    """Options of `selip card`."""

    folder: Path = field(
        metadata={"help": "folder of a checkpoint, of a tuned structurer, of an exported data set or of a benchmark"}
    )
    kind: Literal["auto", "model", "head", "structurer", "dataset", "benchmark"] = field(
        default="auto", metadata={"help": "what the folder is; auto: by its files"}
    )
    name: str | None = field(
        default=None,
        metadata={"help": "name on the Hub, as ORGANISATION/NAME; the folder's name where none is given"},
    )
    datasets: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "data sets that it was trained on or consists of, all of them: a name of the table of terms "
            "(docs/cards.md), else NAME=LICENCE with a licence id of the Hub, or NAME=TITLE=URL. Simulated studies "
            "are known without being named"
        },
    )
    training_data: str = field(default="", metadata={"help": "what the data is, in one sentence for the card"})
    studies: Path | None = field(
        default=None,
        metadata={"help": "studies table that it was trained on, to count anew what the run did not write down"},
    )
    findings: Path | None = field(default=None, metadata={"help": "findings table of these studies"})
    languages: tuple[str, ...] = field(
        default=(), metadata={"help": "languages of the reports; as counted where none are given"}
    )
    results: tuple[Path, ...] = field(
        default=(), metadata={"help": "result files of `selip evaluate`, `selip missing` and `selip compare`"}
    )
    figures: bool = field(
        default=True, metadata={"help": "copy the plots of the results beside the card, unless the data is gated"}
    )
    benchmark_dataset: str | None = field(
        default=None,
        metadata={"help": "Hub id of the benchmark that the results are of; writes .eval_results/NAME.yaml"},
    )
    benchmark_tasks: tuple[str, ...] = field(
        default=(),
        metadata={"help": "tasks: of a model TASK=ID where the benchmark has other ids, of a benchmark those it has"},
    )
    protocols: tuple[Path, ...] = field(
        default=(), metadata={"help": "of a benchmark: protocol files of zero-shot tasks, copied into it"}
    )
    overwrite: bool = field(default=False, metadata={"help": "replace a README.md that is there"})

    def __post_init__(self) -> None:
        if self.benchmark_dataset is not None and self.benchmark_dataset.count("/") != 1:
            raise ValueError(f"expected --benchmark-dataset ORGANISATION/NAME, got {self.benchmark_dataset}")
