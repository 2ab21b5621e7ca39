"""What `selip benchmark simulated` compares: one recipe, of which every arm changes the objective and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

RECIPES = {"cpu": "benchmark_tiny", "gpu": "benchmark_small"}
"""Shipped configuration that all arms share, by size: data, network, steps, optimiser, temperature, normal rate."""

BASELINE = "clip"

BENCHMARK_VERSION = 5
"""Raised whenever data, arms, recipe or metrics change: numbers of different versions are not compared."""

_CONTROLS = "selip.training.benchmark.control_objectives"


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: Name in the table and of the folder of its runs.
        question: What it is there to answer.
        overrides: Options of the recipe by which it differs, by dotted key; True sets one that takes no value.
    """

    name: str
    question: str
    overrides: Mapping[str, str | bool]


ARMS = (
    Arm(BASELINE, "the true pair is the only target", {"optimization.objective": "clip"}),
    Arm(
        "clip_uniform",
        "as much mass off the true pair as SeLIP gives, spread over all texts alike",
        {"optimization.objective": f"{_CONTROLS}:uniform_selip_loss", "optimization.similarity": "released"},
    ),
    Arm(
        "selip",
        "targets by the released similarity",
        {"optimization.objective": "selip", "optimization.similarity": "released"},
    ),
    Arm(
        "selip_permuted",
        "the same targets, each on another text than the one that is similar",
        {"optimization.objective": f"{_CONTROLS}:permuted_selip_loss", "optimization.similarity": "released"},
    ),
    Arm(
        "selip_recommended",
        "targets by the assignment similarity",
        {"optimization.objective": "selip_recommended", "optimization.similarity": "assignment"},
    ),
    Arm(
        "clip_normals",
        "a quarter of a batch normal, each normal study a positive of every other (fVLM's targets)",
        {
            "optimization.objective": "fvlm",
            "optimization.similarity": "equal",
            "data.normal_rate": "0.25",
            "data.repeat_normal": True,
        },
    ),
    Arm(
        "clip_dual",
        "a sentence and the whole report of each study in place of the text of the series",
        {"optimization.objective": "clip", "data.text_items": "finding,report"},
    ),
)

TRUE_TEXT = Arm(
    "clip_true_text",
    "`clip` on texts of the true findings: what a structurer without errors would give, no system",
    {"optimization.objective": "clip"},
)
"""Stands beside the arms as the bound of what better structuring can bring. No model is trained on the truth."""


def find_arms(names: tuple[str, ...]) -> tuple[Arm, ...]:
    """The arms of these names, in the order of the table; all of them where no name is given.

    Raises:
        ValueError: A name is unknown, or the baseline is missing.
    """
    known = [arm.name for arm in ARMS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"expected arms among {', '.join(known)}, got {', '.join(unknown)}")
    chosen = tuple(arm for arm in ARMS if not names or arm.name in names)
    if all(arm.name != BASELINE for arm in chosen):
        raise ValueError(f"expected the baseline {BASELINE} among the arms, got {', '.join(names)}")
    return chosen
