"""Options of `selip evaluate --task structuring`. Standard library only."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class StructuringEvaluateConfig:
    """`selip evaluate --task structuring`: how well a structurer finds what readers found."""

    structurer: str = field(
        metadata={
            "help": "What is judged: rules, a folder or Hub id of a language model, or the URL of a server, as `selip "
            "structure` takes them; or a file of findings made before, a findings table (.parquet) or JSON lines with "
            "the columns id and report (.jsonl)."
        }
    )
    dataset: Path = field(
        metadata={
            "help": "Gold findings: a .jsonl file, as `selip annotate import` writes it or in the form of the "
            "annotation guide; or a studies table whose true findings are known."
        }
    )
    task: Literal["structuring"] = field(
        metadata={"help": "structuring; other tasks judge checkpoints.", "positional": False}
    )
    base: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of the base model of an adapter; without it the one that the adapter names, "
            "from the Hub or its cache."
        },
    )
    split: Literal["train", "validation", "test"] = field(
        default="test", metadata={"help": "Studies of a studies table that are read; a file is read whole."}
    )
    half: Literal["both", "even", "odd"] = field(
        default="both",
        metadata={
            "help": "Gold reports that are judged: both halves, or those of even or odd index from 0, so that "
            "rules are developed on one half and judged on the other."
        },
    )
    out: Path | None = field(
        default=None,
        metadata={
            "help": "Result file (.json); scores by report are put beside it. Without one: "
            "evaluation/STRUCTURER-structuring-DATASET[-HALF].json in the working folder."
        },
    )
    html: Path | None = field(
        default=None,
        metadata={"help": "Page (.html) that shows each report with gold and predicted findings; it holds the texts."},
    )
    html_reports: int = field(default=200, metadata={"help": "Reports on the page at most, most faults first."})
    bootstrap_samples: int = field(
        default=1000, metadata={"help": "Draws of patients behind each interval; 0: no intervals."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a result or page of the same name."})

    def __post_init__(self) -> None:
        for name, suffix in (("out", ".json"), ("html", ".html")):
            path = getattr(self, name)
            if path is not None and path.suffix != suffix:
                raise ValueError(f"expected {name} to end in {suffix}, got {path.name}")
        if self.bootstrap_samples < 0 or self.html_reports < 1:
            raise ValueError(
                "expected bootstrap_samples of at least 0 and html_reports of at least 1, got "
                f"{self.bootstrap_samples} and {self.html_reports}"
            )

    @property
    def result_path(self) -> Path:
        """Where the result file goes."""
        if self.out is not None:
            return self.out
        structurer = re.sub(r"[^\w.-]+", "-", Path(self.structurer).name).strip("-")
        half = "" if self.half == "both" else f"-{self.half}"
        return Path("evaluation") / f"{structurer}-structuring-{self.dataset.resolve().stem}{half}.json"
