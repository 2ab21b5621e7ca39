"""What `selip finetune` takes: typed, frozen, checked. Standard library only, so that `--help` stays quick."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..config import AugmentationConfig, TrackingConfig


@dataclass(frozen=True)
class FinetuneData:
    """The studies, and what is to be learned of them."""

    studies: Path = field(metadata={"help": "Studies table, as `selip ingest` writes it."})
    volumes: Path = field(metadata={"help": "Volumes table, as `selip prepare` writes it, for the checkpoint's box."})
    labels: Path | None = field(
        default=None,
        metadata={
            "help": "Table (.csv, .parquet, .jsonl) with a column study_id and one for each label: 1, 0, or nothing "
            "where it is not known. Without one the labels of the studies table count; what a study lacks is 0 then."
        },
    )
    label_names: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Labels to learn; none: all that 5 training studies have and 5 are known to lack."},
    )
    is_exclusive: bool = field(
        default=False,
        metadata={"help": "Of the labels exactly one holds for a study; studies with none or several are left out."},
    )
    mask: str = field(
        default="lesions",
        metadata={"help": "Name of the mask to learn, in the studies table; whatever is above 0 in it is lesion."},
    )
    mask_threshold: float = field(
        default=0.5,
        metadata={"help": "Share of a box voxel that must lie in the mask; lower keeps lesions smaller than a voxel."},
    )
    label_share: float = field(
        default=1.0,
        metadata={"help": "Share of the training studies to learn from, chosen by a hash of their ids."},
    )
    batch_studies: int = field(default=8, metadata={"help": "Studies in a batch, over all processes."})
    max_series: int = field(
        default=8, metadata={"help": "Series of a study at most in training; of more, a random choice."}
    )
    num_workers: int = field(
        default=0, metadata={"help": "Processes that make batches; 0: one thread beside the training."}
    )

    def __post_init__(self) -> None:
        if not 0 < self.label_share <= 1:
            raise ValueError(f"expected label_share in (0, 1], got {self.label_share}")
        if not 0 < self.mask_threshold <= 1:
            raise ValueError(f"expected mask_threshold in (0, 1], got {self.mask_threshold}")
        if self.batch_studies < 1 or self.max_series < 1:
            raise ValueError(
                f"expected batch_studies and max_series of at least 1, got {self.batch_studies} and {self.max_series}"
            )


@dataclass(frozen=True)
class HeadConfig:
    """The network, and which of its weights are trained."""

    checkpoint: Path = field(
        metadata={"help": "Folder of a pretraining checkpoint, e.g. RUN/best: the network, its box and its weights."}
    )
    weights: Literal["checkpoint", "random"] = field(
        default="checkpoint",
        metadata={
            "help": "Where the weights before the head start: as in the checkpoint, or from scratch, to compare with."
        },
    )
    tuning: Literal["full", "frozen"] = field(
        default="full", metadata={"help": "What is trained: all, or the head alone."}
    )
    decoder_width: int = field(
        default=16,
        metadata={"help": "Segmentation: channels of the decoder at the size of the box, a multiple of 4."},
    )

    def __post_init__(self) -> None:
        if self.weights == "random" and self.tuning == "frozen":
            raise ValueError("expected tuning full with random weights, got frozen: nothing would ever train them")


@dataclass(frozen=True)
class FinetuneOptimization:
    """Optimiser and schedule."""

    steps: int = field(default=500, metadata={"help": "Optimiser steps at most."})
    learning_rate: float = field(default=3e-4, metadata={"help": "Peak learning rate of what was pretrained."})
    learning_rate_head: float = field(default=1e-3, metadata={"help": "Peak learning rate of the head."})
    weight_decay: float = field(
        default=0.05, metadata={"help": "AdamW decay of matrices and kernels; never of other weights."}
    )
    warmup_steps: int = field(default=25, metadata={"help": "Steps of linear warm-up."})
    decay: Literal["cosine", "poly", "none"] = field(
        default="cosine", metadata={"help": "Decay after warm-up; poly is (1 - t)^0.9."}
    )
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this norm."})
    precision: Literal["auto", "fp32", "bf16"] = field(
        default="auto",
        metadata={"help": "auto: bf16 on a GPU, and on a CPU if a short measurement says it is faster."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of the head, of batches and augmentation."})

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"expected steps >= 1 and 0 <= warmup_steps <= steps, got {self.steps} and {self.warmup_steps}"
            )


@dataclass(frozen=True)
class FinetuneConfig:
    """`selip finetune`: train a head for labels or masks on a pretrained series tower."""

    output: Path = field(metadata={"help": "Folder of the run: `best`, `last`, metrics.jsonl, config.yaml."})
    task: Literal["classification", "segmentation"] = field(
        metadata={"help": "classification: labels of studies; segmentation: masks of lesions."}
    )
    data: FinetuneData
    model: HeadConfig
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimization: FinetuneOptimization = field(default_factory=FinetuneOptimization)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    resume: bool = field(
        default=True, metadata={"help": "Continue the run in `output` if it has the same configuration."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a run in `output`."})
