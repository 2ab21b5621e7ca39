"""What the commands of training take: typed, frozen, checked. Standard library only, so that `--help` stays quick.

The text of a field's `help` is its documentation, in the command line and here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

TextKind = Literal["series", "finding", "impression", "report"]
SimilarityKind = Literal["released", "assignment", "embedding", "mixed"]
TargetSimilarity = Literal["released", "assignment", "embedding", "mixed", "equal"]
_MIXABLE = ("released", "assignment", "embedding")


def check_similarity(kind: str, encoder: str | None, weights: dict[str, float] | None) -> None:
    """Check that a similarity has what it is made of, and nothing that it has no use for.

    Raises:
        ValueError: It has not.
    """
    if (kind == "mixed") != (weights is not None):
        raise ValueError(f"expected weights with the similarity mixed and with no other, got {weights} with {kind}")
    if weights is not None:
        wrong = [name for name in weights if name not in _MIXABLE]
        if wrong or not weights:
            raise ValueError(
                f"expected weights of {', '.join(_MIXABLE)}, got weights of {', '.join(wrong) or 'nothing'}"
            )
        values = list(weights.values())
        if not all(isinstance(value, int | float) and value > 0 for value in values) or abs(sum(values) - 1) > 1e-6:
            raise ValueError(f"expected weights above 0 that sum to 1, got {weights}")
    if ("embedding" in (weights or (kind,))) != (encoder is not None):
        raise ValueError(
            f"expected a text encoder with the similarity embedding and with no other, got {encoder} with {kind}"
        )


@dataclass(frozen=True)
class PretrainData:
    """What pretraining reads, and what one batch holds."""

    studies: Path = field(metadata={"help": "Studies table, as `selip ingest` writes it."})
    findings: Path = field(metadata={"help": "Findings table, as `selip structure` writes it."})
    volumes: Path = field(metadata={"help": "Volumes table, as `selip prepare` writes it."})
    language: Literal["en", "zh"] = field(default="en", metadata={"help": "Language of the texts made from findings."})
    text_items: tuple[TextKind, ...] = field(
        default=("series",),
        metadata={
            "help": "Texts a study brings to a batch: what is seen in each sampled series, one finding of each "
            "sampled series, the conclusion of the study, or its findings section as written."
        },
    )
    unnamed: Literal["visible", "copy-all", "drop"] = field(
        default="visible",
        metadata={
            "help": "Where a finding goes whose sentence names no sequence: to those that can show it, to all, "
            "to none."
        },
    )
    study_share: float = field(
        default=1.0,
        metadata={"help": "Share of the training studies to learn from, chosen by a hash of their ids."},
    )
    batch_studies: int = field(default=64, metadata={"help": "Studies in a batch, over all processes."})
    batch_sequences: Literal["mixed", "one", "both"] = field(
        default="mixed",
        metadata={
            "help": "Whether a batch mixes MRI sequences, holds one, or both in turn. One makes every negative a hard "
            "one: texts of different sequences differ by the name of the sequence already; but the model then never "
            "learns to compare series across sequences."
        },
    )
    series_per_study: int = field(default=1, metadata={"help": "Series drawn from each study of a batch."})
    normal_rate: float = field(
        default=0.05,
        metadata={
            "help": "Share of normal studies in a batch. Texts are unique in a batch, which limits normal ones too, "
            "unless they may repeat."
        },
    )
    repeat_normal: bool = field(
        default=False,
        metadata={
            "help": "Let normal studies of a batch say the same; for an objective that takes them for positives of "
            "each other (fvlm). Any other one then pushes them apart."
        },
    )
    max_text_tokens: int = field(default=160, metadata={"help": "Tokens a text is cut to."})
    num_workers: int = field(
        default=0, metadata={"help": "Processes that make batches; 0: one thread beside the training."}
    )

    def __post_init__(self) -> None:
        if not self.text_items:
            raise ValueError("expected at least one kind of text in text_items, got none")
        if not 0 < self.study_share <= 1:
            raise ValueError(f"expected study_share in (0, 1], got {self.study_share}")
        if self.batch_studies < 2:
            raise ValueError(f"expected batch_studies of at least 2 (a contrast needs two), got {self.batch_studies}")
        if self.series_per_study < 1:
            raise ValueError(f"expected series_per_study of at least 1, got {self.series_per_study}")
        if not 0 <= self.normal_rate < 1:
            raise ValueError(f"expected normal_rate in [0, 1), got {self.normal_rate}")


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of a volume, drawn per study from (seed, epoch, study id)."""

    flip_probability: float = field(
        default=0.5, metadata={"help": "Chance of a mirror image, left and right exchanged in the texts as well."}
    )
    max_shift_mm: float = field(default=8.0, metadata={"help": "Largest shift along each axis, in mm."})
    max_gamma: float = field(default=0.15, metadata={"help": "Gamma is drawn in exp(+-this); never for ADC."})
    max_gain: float = field(default=0.1, metadata={"help": "Gain is drawn in 1 +- this; never for ADC."})
    drop_sequence_id: float = field(
        default=0.1, metadata={"help": "Chance that a series is shown without telling which sequence it is."}
    )


@dataclass(frozen=True)
class NetworkConfig:
    """The network that is trained."""

    backbone: Literal["resnet", "vit"] = field(default="resnet", metadata={"help": "Kind of the series tower."})
    size: Literal["tiny", "small", "base"] | None = field(
        default=None, metadata={"help": "Size of the series tower; none: that of the released SeLIP, or ViT-B."}
    )
    vision: dict = field(
        default_factory=dict,
        metadata={"help": "Fields of SelipVisionConfig, as a mapping; they win over those of the size."},
    )
    vision_start: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a 2D ViT of timm, DINO or CLIP, which a vit starts from and takes its width, "
            "layers and heads from."
        },
    )
    projection_dim: int = field(default=128, metadata={"help": "Dimension of the shared space."})
    fusion_layers: int = field(default=1, metadata={"help": "Transformer layers over the series of a study."})
    text_tower: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of an encoder with its tokenizer; without one, a small tower starts from "
            "scratch with a tokenizer trained on the training texts."
        },
    )
    text: dict = field(
        default_factory=dict,
        metadata={"help": "Fields of the configuration of a text tower that starts from scratch."},
    )
    vocabulary_size: int = field(default=2000, metadata={"help": "Vocabulary of a tokenizer trained on the corpus."})
    text_tuning: Literal["full", "frozen", "lora"] = field(
        default="full",
        metadata={
            "help": "What of the text tower is trained: all of it; nothing, so that it reads every text once, before "
            "the first step; or low-rank adapters on its linear layers (LoRA). Its projection is always trained."
        },
    )
    lora_rank: int = field(default=16, metadata={"help": "Rank of the adapters with text_tuning lora."})
    start_from: Path | None = field(
        default=None,
        metadata={
            "help": "Checkpoint of another run whose weights and tokenizer this one starts from. The network is that "
            "of this configuration; every weight must fit."
        },
    )

    def __post_init__(self) -> None:
        if self.text_tuning != "full" and self.text_tower is None and self.start_from is None:
            raise ValueError(
                f"expected a trained text tower for text_tuning {self.text_tuning}, got one that starts from scratch; "
                "name one by text_tower or start_from"
            )
        if self.lora_rank < 1:
            raise ValueError(f"expected lora_rank of at least 1, got {self.lora_rank}")
        if "backbone" in self.vision:
            raise ValueError("expected backbone beside vision, got it among the fields of vision")
        if self.vision_start is not None and self.backbone != "vit":
            raise ValueError(f"expected backbone vit with vision_start, got {self.backbone}")


@dataclass(frozen=True)
class OptimizationConfig:
    """Objective, optimiser and schedule."""

    objective: str = field(
        default="selip_recommended",
        metadata={
            "help": "clip, selip (as released), selip_recommended, fvlm, or your own as package.module:function."
        },
    )
    similarity: TargetSimilarity = field(
        default="released",
        metadata={
            "help": "How alike two texts are, for an objective with soft targets: clause by clause, as released; by "
            "the best assignment between their findings, less the chance level; by the cosine of their embeddings, "
            "less the chance level; mixed, a weighted mean of these; or equal, 1 between the same texts and between "
            "normal ones."
        },
    )
    similarity_limit: int = field(
        default=8,
        metadata={
            "help": "How many other texts may share the target of one (not with released, which has no limit). CLIP "
            "has 0."
        },
    )
    similarity_encoder: str | None = field(
        default=None,
        metadata={
            "help": "Text encoder of the similarity embedding, a folder or a Hub id; a SeLIP checkpoint is one too."
        },
    )
    similarity_weights: dict | None = field(
        default=None,
        metadata={"help": "Weights of the similarity mixed, summing to 1, e.g. {assignment: 0.5, embedding: 0.5}."},
    )
    steps: int = field(default=1000, metadata={"help": "Optimiser steps."})
    micro_batch: int | None = field(
        default=None,
        metadata={
            "help": "Studies per forward pass of a process (GradCache): memory for the activations of so many, "
            "gradients of the whole batch, a third more time; none: all studies of the process at once."
        },
    )
    learning_rate_vision: float = field(
        default=1e-3, metadata={"help": "Peak learning rate of series tower and fusion."}
    )
    learning_rate_text: float = field(default=5e-4, metadata={"help": "Peak learning rate of the text tower."})
    weight_decay: float = field(
        default=0.05, metadata={"help": "AdamW decay of matrices and kernels; never of other weights."}
    )
    adam_epsilon: float = field(default=1e-8, metadata={"help": "Epsilon of Adam; the released SeLIP has 1e-3."})
    warmup_steps: int = field(default=50, metadata={"help": "Steps of linear warm-up."})
    decay: Literal["cosine", "poly", "none"] = field(
        default="cosine", metadata={"help": "Decay after warm-up; poly is (1 - t)^0.9, as released."}
    )
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this norm."})
    learn_logit_scale: bool = field(
        default=True, metadata={"help": "Whether the temperature is trained; the released SeLIP keeps it at 1/14.29."}
    )
    precision: Literal["auto", "fp32", "bf16"] = field(
        default="auto",
        metadata={"help": "auto: bf16 on a GPU, and on a CPU if a short measurement says it is faster."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of weights, batches and augmentation."})

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"expected steps >= 1 and 0 <= warmup_steps <= steps, got {self.steps} and {self.warmup_steps}"
            )
        if self.similarity_limit < 0:
            raise ValueError(f"expected similarity_limit of at least 0, got {self.similarity_limit}")
        check_similarity(self.similarity, self.similarity_encoder, self.similarity_weights)
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"expected micro_batch of at least 1 or none, got {self.micro_batch}")


@dataclass(frozen=True)
class TrackingConfig:
    """Validation, checkpoints and logs."""

    validate_every: int = field(default=100, metadata={"help": "Steps between validations; each saves `last`."})
    patience: int | None = field(
        default=None,
        metadata={"help": "Validations no better than the best after which the run ends; none: all steps are taken."},
    )
    log_every: int = field(default=10, metadata={"help": "Steps between lines of metrics.jsonl."})
    tracker: Literal["none", "tensorboard", "trackio"] = field(
        default="none", metadata={"help": "Also log to this tracker, offline."}
    )

    def __post_init__(self) -> None:
        if self.validate_every < 1 or self.log_every < 1 or (self.patience is not None and self.patience < 1):
            raise ValueError(
                "expected validate_every, log_every and patience of at least 1 (patience may be none), got "
                f"{self.validate_every}, {self.log_every} and {self.patience}"
            )


@dataclass(frozen=True)
class PretrainConfig:
    """`selip pretrain`: contrastive pretraining on volumes and the texts of their findings."""

    output: Path = field(metadata={"help": "Folder of the run: `best`, `last`, metrics.jsonl, config.yaml."})
    data: PretrainData
    model: NetworkConfig = field(default_factory=NetworkConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    resume: bool = field(
        default=True, metadata={"help": "Continue the run in `output` if it has the same configuration."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a run in `output`."})
