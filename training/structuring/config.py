"""What tuning a structurer takes: typed, frozen, checked. Standard library only, so that `--help` stays quick."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..config import TrackingConfig

UNPUBLISHED = "unpublished"


@dataclass(frozen=True)
class PseudoReportsConfig:
    """Options of `selip pseudo-reports`. The help text of each field is its documentation."""

    out: Path = field(
        metadata={"help": "File to write (.jsonl, .parquet): id, language, findings, impression, report."}
    )
    reports: int = field(default=1000, metadata={"help": "How many."})
    seed: int = field(default=0, metadata={"help": "Seed; a longer file begins with a shorter one."})
    language: Literal["en", "zh", "mixed"] = field(default="mixed", metadata={"help": "Language of the reports."})
    writer: Literal["training", "held-out", "simple"] = field(
        default="training",
        metadata={
            "help": "Whose words: those that structurers are tuned on; those of the other writer, for judging; or "
            "the English writer of `selip simulate --form simple`."
        },
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a file that is there."})

    def __post_init__(self) -> None:
        if self.out.suffix not in (".jsonl", ".parquet"):
            raise ValueError(f"expected out to end in .jsonl or .parquet, got {self.out.name}")
        if self.reports < 1 or self.seed < 0:
            raise ValueError(f"expected at least 1 report and a seed of 0 or more, got {self.reports}, {self.seed}")
        if self.writer == "simple" and self.language != "en":
            raise ValueError(f"expected --language en with the simple writer, got {self.language}")


@dataclass(frozen=True)
class TuningData:
    """The reports that a structurer is tuned on."""

    pseudo_reports: int = field(
        default=4000, metadata={"help": "Pseudo reports to make: text of the simulator, findings known."}
    )
    language: Literal["en", "zh", "mixed"] = field(default="mixed", metadata={"help": "Language of pseudo reports."})
    group_data: tuple[Path, ...] = field(
        default=(),
        metadata={
            "help": "A group's own reports, findings corrected, as `selip annotate import` writes them: JSONL with "
            "id, language, findings, impression, report."
        },
    )
    group_repeats: int = field(
        default=1, metadata={"help": "How often an epoch has each of the group's reports; pseudo reports once."}
    )
    validation_reports: int = field(
        default=64, metadata={"help": "Pseudo reports on which F1 is watched; never trained on."}
    )
    group_validation: float = field(
        default=0.1, metadata={"help": "Share of the group's reports that F1 is watched on as well, by their id."}
    )
    max_tokens: int = field(
        default=2048, metadata={"help": "Tokens of report and answer; longer ones are left out and counted."}
    )
    instruction: str | None = field(
        default=None,
        metadata={"help": "What the model is told before the report; none: the shipped instruction; empty: nothing."},
    )

    def __post_init__(self) -> None:
        if self.pseudo_reports < 0 or self.validation_reports < 0 or self.group_repeats < 1:
            raise ValueError(
                "expected pseudo_reports and validation_reports of at least 0 and group_repeats of at least 1, got "
                f"{self.pseudo_reports}, {self.validation_reports} and {self.group_repeats}"
            )
        if not self.pseudo_reports and not self.group_data:
            raise ValueError("expected pseudo_reports or group_data, got neither")
        if not 0.0 <= self.group_validation < 1.0:
            raise ValueError(f"expected group_validation in [0, 1), got {self.group_validation}")
        if not self.validation_reports and not (self.group_data and self.group_validation):
            raise ValueError("expected reports to watch F1 on: validation_reports, or group_data and group_validation")
        if self.max_tokens < 64:
            raise ValueError(f"expected max_tokens of at least 64, got {self.max_tokens}")


@dataclass(frozen=True)
class TunedModel:
    """The model, and which of its weights are tuned."""

    base: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of a causal language model with its tokenizer; none: from scratch."},
    )
    base_model_id: str | None = field(
        default=None,
        metadata={
            "help": "Hub id of the model where base is a folder; it is what an adapter and its card name. "
            f"`{UNPUBLISHED}` for one that is on no Hub."
        },
    )
    tuning: Literal["lora", "qlora", "full"] = field(
        default="lora",
        metadata={
            "help": "lora: low-rank adapters on all linear layers; qlora: the same on a base in 4 bit (CUDA and "
            "bitsandbytes); full: all weights. From scratch it is full."
        },
    )
    architecture: dict = field(
        default_factory=dict,
        metadata={
            "help": "Fields of the model's configuration, model_type among them: the model from scratch, and what "
            "--dry-run builds where the base is not at hand."
        },
    )
    vocabulary_size: int = field(
        default=3000, metadata={"help": "Entries of the tokenizer that is trained for a model from scratch."}
    )
    lora_rank: int = field(default=16, metadata={"help": "Rank of the adapters."})
    lora_alpha: int | None = field(default=None, metadata={"help": "Scale of the adapters; none: twice the rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})
    gradient_checkpointing: bool = field(
        default=True, metadata={"help": "Compute activations twice and keep few: a third more time, far less memory."}
    )

    def __post_init__(self) -> None:
        if self.base is None and "model_type" not in self.architecture:
            raise ValueError(
                "expected base, or architecture with its model_type for a model from scratch, got neither"
            )
        if self.base is None and self.tuning != "full":
            raise ValueError(f"expected tuning full for a model from scratch, got {self.tuning}")
        if self.lora_rank < 1 or not 0.0 <= self.lora_dropout < 1.0:
            raise ValueError(
                "expected lora_rank of at least 1 and lora_dropout in [0, 1), got "
                f"{self.lora_rank} and {self.lora_dropout}"
            )


@dataclass(frozen=True)
class TuningOptimization:
    """Optimiser and schedule, and how answers are generated where F1 is taken."""

    steps: int = field(default=1000, metadata={"help": "Optimiser steps at most."})
    batch_reports: int = field(default=16, metadata={"help": "Reports of a step, over all processes."})
    micro_batch: int = field(
        default=4, metadata={"help": "Reports per forward pass of a process; the rest is accumulated."}
    )
    learning_rate: float = field(default=2e-4, metadata={"help": "Peak learning rate."})
    weight_decay: float = field(default=0.0, metadata={"help": "AdamW decay of matrices."})
    warmup_steps: int = field(default=30, metadata={"help": "Steps of linear warm-up."})
    decay: Literal["cosine", "none"] = field(default="cosine", metadata={"help": "Decay after the warm-up."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this norm."})
    precision: Literal["auto", "fp32", "bf16"] = field(
        default="auto", metadata={"help": "auto: bf16 on a GPU that computes in it, else fp32."}
    )
    max_new_tokens: int = field(default=1024, metadata={"help": "Tokens of an answer at most, when generating."})
    generation_batch: int = field(default=16, metadata={"help": "Reports generated at once."})
    seed: int = field(default=0, metadata={"help": "Seed of weights, pseudo reports and their order."})

    def __post_init__(self) -> None:
        for name in ("steps", "batch_reports", "micro_batch", "max_new_tokens", "generation_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(f"expected warmup_steps from 0 to steps, got {self.warmup_steps} of {self.steps}")


@dataclass(frozen=True)
class TuneConfig:
    """`selip tune-structurer`: tune a language model to read findings out of reports."""

    output: Path = field(metadata={"help": "Folder of the run: `best`, `last`, metrics.jsonl, config.yaml."})
    model: TunedModel
    data: TuningData = field(default_factory=TuningData)
    optimization: TuningOptimization = field(default_factory=TuningOptimization)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    merge: bool = field(
        default=False,
        metadata={
            "help": "Also write `merged`: the base with the best adapter in its weights, one folder for any server."
        },
    )
    dry_run: bool = field(
        default=False,
        metadata={
            "help": "Train nothing: print parameters, memory by part and tokens of a step, and time a small one."
        },
    )
    resume: bool = field(
        default=True, metadata={"help": "Continue the run in `output` if it has the same configuration."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a run in `output`."})
