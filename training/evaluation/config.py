"""What `selip evaluate` and `selip missing` take. Standard library only, so that `--help` stays quick.

The text of a field's `help` is its documentation, in the command line and here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Task = Literal[
    "retrieval", "pairs", "probe", "zero_shot", "localization", "detection", "classification", "segmentation"
]


@dataclass(frozen=True, kw_only=True)
class CheckpointEvaluation:
    """What every evaluation of a checkpoint on a studies table takes.

    All but the first two are given by name, so that a command may add arguments of its own behind them.
    """

    checkpoint: Path = field(
        kw_only=False, metadata={"help": "Folder of a checkpoint: model.safetensors, configuration, processor."}
    )
    studies: Path = field(kw_only=False, metadata={"help": "Studies table, as `selip ingest` writes it."})
    task: str = field(metadata={"help": "What is evaluated."})
    protocol: str | None = field(
        default=None,
        metadata={
            "help": "Labels, prompts and rule of the task zero_shot: the name of a shipped protocol (simulated, "
            "simulated-zh, simulated-simple, mrrate-37, mrrate-head, pub-brain-5) or a YAML file."
        },
    )
    pairs: Path | None = field(
        default=None,
        metadata={
            "help": "Table (.tsv) of minimal pairs: original, partner, change. The task pairs is about these; all "
            "others leave the partners out, which are studies of the table once more but for one lesion."
        },
    )
    label_table: Path | None = field(
        default=None,
        metadata={
            "help": "Table of labels for the task classification, as `selip finetune` takes it; without one the "
            "labels of the studies table count."
        },
    )
    mask: str = field(
        default="lesions",
        metadata={
            "help": "Name of the true mask in the studies table, for the tasks localization, detection and "
            "segmentation."
        },
    )
    volumes: Path | None = field(
        default=None,
        metadata={"help": "Volumes table of these studies; without one the NIfTI files are read."},
    )
    findings: Path | None = field(
        default=None,
        metadata={"help": "Findings table, used as reference only for studies whose true findings are not known."},
    )
    split: Literal["train", "validation", "test"] = field(
        default="test", metadata={"help": "Studies that are evaluated."}
    )
    embeddings: Path | None = field(
        default=None,
        metadata={
            "help": "Folder where embeddings of series are kept, so that the next task on the same checkpoint and "
            "studies reads them. Without one: evaluation/embeddings beside the checkpoint's folder."
        },
    )
    batch_size: int = field(default=16, metadata={"help": "Series embedded at once."})
    bootstrap_samples: int = field(
        default=1000, metadata={"help": "Draws of patients behind each interval; 0: no intervals."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap, and of which cases are pictured."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a result of the same name."})

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"expected batch_size of at least 1, got {self.batch_size}")
        if self.bootstrap_samples < 0:
            raise ValueError(f"expected bootstrap_samples of at least 0, got {self.bootstrap_samples}")
        if (self.task == "zero_shot") != (self.protocol is not None):
            raise ValueError(
                f"expected a protocol (a name or FILE.yaml) with the task zero_shot and with no other, got "
                f"{self.protocol} with {self.task}"
            )


@dataclass(frozen=True)
class EvaluateConfig(CheckpointEvaluation):
    """`selip evaluate`: what a checkpoint is worth on a studies table."""

    task: Task = field(
        default="retrieval",
        metadata={
            "help": "retrieval: series find their texts and texts their series; pairs: choices between two studies "
            "that differ in one thing (needs `pairs`); probe: linear classifiers on frozen embeddings; zero_shot: "
            "labels by prompts (needs `protocol`); localization: whether the map of a lesion's text lies on it; "
            "detection: boxes of lesions, by maps or by a checkpoint of `selip finetune` for segmentation; "
            "classification and segmentation: a checkpoint of `selip finetune` on its own task."
        },
    )
    labels: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Labels that are asked for (zero_shot: of the protocol; probe: of the studies), with commas. "
            "Without it: all."
        },
    )
    probe: Literal["split", "cv"] = field(
        default="split",
        metadata={
            "help": "How probes are fitted. split: on the training split, their penalty chosen on the validation "
            "split (where there is none, by cross-validation of the training split), scored on the test split; cv: "
            "5-fold cross-validation over all studies, patients kept together, for data without splits."
        },
    )
    probe_extent: Literal["linear", "quick", "full"] = field(
        default="quick",
        metadata={
            "help": "What stands beside the linear probe. linear: nothing; quick: an attention probe, volume "
            "statistics, which sequences there are, 1, 8 and 64 labelled studies a class, a map of the embeddings; "
            "full: also the same network with random weights (all series are embedded once more), and few-shot "
            "curves of 1 to 64 a class and of 1, 10 and 100 % of the patients. Under a control: linear."
        },
    )
    sequences: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "MRI sequences that are shown, e.g. DWI,ADC; studies are evaluated as if they had no other. "
            "Without it: all."
        },
    )
    control: Literal["none", "shuffled_text", "empty_text", "shuffled_images"] = field(
        default="none",
        metadata={
            "help": "Evaluate with the link between image and text cut: each text with the embedding of another, all "
            "texts with that of no words, or each series with that of another one. What stays above chance is not "
            "what text and image have in common."
        },
    )
    out: Path | None = field(
        default=None,
        metadata={
            "help": "Result file (.json); scores by case and pictures are put beside it. Without one: "
            "evaluation/CHECKPOINT-TASK-SPLIT.json beside the checkpoint's folder, sequences and control in the name."
        },
    )
    num_figure_cases: int = field(
        default=6, metadata={"help": "Cases in the picture of examples; 0: no pictures (they need the extra `plots`)."}
    )
    html: Path | None = field(
        default=None,
        metadata={"help": "Page for the result (.html): numbers, plots and cases in one file, offline."},
    )
    html_cases: int = field(default=1000, metadata={"help": "Cases that the page lists, the worst first; 0: none."})
    scores: bool = field(
        default=False,
        metadata={
            "help": "Keep the score of every series against every text too (retrieval), for a leaderboard, which "
            "computes ranks itself."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_figure_cases < 0:
            raise ValueError(f"expected num_figure_cases of at least 0, got {self.num_figure_cases}")
        if self.out is not None and self.out.suffix != ".json":
            raise ValueError(f"expected out to end in .json, got {self.out.name}")
        if self.task in ("classification", "segmentation") and self.control != "none":
            raise ValueError(f"expected no control for {self.task}, which reads no text, got {self.control}")
        if self.labels and self.task not in ("zero_shot", "probe"):
            raise ValueError(f"expected labels with the tasks zero_shot and probe only, got them with {self.task}")
        if self.task != "probe" and (self.probe, self.probe_extent) != ("split", "quick"):
            raise ValueError(f"expected probe and probe_extent with the task probe only, got them with {self.task}")
        if self.scores and self.task != "retrieval":
            raise ValueError(f"expected scores with the task retrieval only, got it with {self.task}")
        if self.task == "probe" and self.control in ("shuffled_text", "empty_text"):
            raise ValueError(
                f"expected the control shuffled_images for a probe, which reads no text, got {self.control}"
            )


@dataclass(frozen=True)
class MissingConfig(CheckpointEvaluation):
    """`selip missing`: what a checkpoint is worth where studies lack sequences."""

    out: Path = field(metadata={"help": "Folder for the result of every set, the summary and its picture."})
    task: Task = field(
        kw_only=True,
        default="probe",
        metadata={
            "help": "What is evaluated, as for `selip evaluate`. retrieval: of whole studies; pairs and localization: "
            "of single series, so that a set is the series of these sequences; heads read every set anew."
        },
    )
    html: Path | None = field(
        default=None,
        metadata={"help": "Page for the summary (.html): the table in colours, in one file, offline."},
    )
