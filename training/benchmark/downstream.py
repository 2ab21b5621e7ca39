"""Heads of `selip benchmark simulated`: which checkpoints they are trained on, and what is asked of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..evaluation.result_file import read_cases
from ..evaluation.retrieval import retrieval_case_metrics

SCRATCH = "scratch"
"""The same network with random weights."""
NUM_BEST = 2
CHOOSING_METRIC = "within_sequence_abnormal/image_to_text/recall@5"


@dataclass(frozen=True)
class HeadTask:
    """A head that is trained, and what the checkpoint is then evaluated in.

    Attributes:
        name: Part of the names of runs and result files.
        recipe: Shipped configuration.
        overrides: Options of the recipe, as words of a command line.
        tasks: Evaluations of the trained head.
    """

    name: str
    recipe: str
    overrides: tuple[str, ...]
    tasks: tuple[str, ...]


HEAD_TASKS = (
    *(
        HeadTask(
            f"labels-{percent}",
            "finetuning/classification_tiny",
            ("--data.label-share", str(percent / 100), "--optimization.steps", "200"),
            ("classification",),
        )
        for percent in (1, 10, 100)
    ),
    HeadTask("masks", "finetuning/segmentation_tiny", ("--optimization.steps", "300"), ("segmentation", "detection")),
)


def best_arms(results: Path, arms: Sequence[str], seeds: Sequence[int]) -> tuple[str, ...]:
    """The arms with the highest recall on the validation studies, mean over seeds: the test takes no part.

    Args:
        results: Folder with `ARM-SEED-validation.json` and their tables of cases.
        arms: Names of the arms.
        seeds: Seeds that each was trained with.

    Returns:
        `NUM_BEST` names, the better first; of equal ones the first by name.
    """

    def recall(arm: str) -> float:
        tables = [read_cases(results / f"{arm}-{seed}-validation.json") for seed in seeds]
        return float(np.mean([retrieval_case_metrics(cases, None).points[CHOOSING_METRIC] for cases in tables]))

    return tuple(sorted(arms, key=lambda arm: (-recall(arm), arm))[:NUM_BEST])
