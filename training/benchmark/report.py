"""From the result files of all runs to one comparison."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selip.processing.sources.studies import write_json

from ..evaluation.comparison import Comparison, Estimate, compare
from ..evaluation.provenance import environment
from ..evaluation.result_file import read_cases
from .arms import ARMS, BASELINE, BENCHMARK_VERSION, RECIPE, TRUE_TEXT


@dataclass(frozen=True)
class Metric:
    """A number that arms are compared by.

    Attributes:
        name: Its name in the result file of its task.
        title: Heading of its column.
        task: Which evaluation it comes from.
    """

    name: str
    title: str
    task: str


METRICS = (
    Metric("within_sequence_abnormal/image_to_text/recall@5", "series to report, R@5", "retrieval"),
    Metric("within_sequence_abnormal/text_to_image/recall@5", "report to series, R@5", "retrieval"),
    Metric("all/image_to_text/accuracy", "minimal pairs", "pairs"),
    Metric("side/image_to_text/accuracy", "pairs: side", "pairs"),
    Metric("signal/image_to_text/accuracy", "pairs: signal", "pairs"),
    Metric("size/image_to_text/accuracy", "pairs: size", "pairs"),
    Metric("removed/image_to_text/accuracy", "pairs: removed", "pairs"),
    Metric("mean/auroc", "linear probe, area", "probe"),
)
TASKS = tuple(dict.fromkeys(metric.task for metric in METRICS))
REFERENCES = {
    "floor": "statistics of each volume's intensities, which know nothing of place",
    "ceiling": "the same network, told true labels in place of words, of three times the studies, for twice the steps",
}
# A baseline this close to floor or ceiling leaves no room for a difference between arms.
SMALLEST_MARGIN = 0.05


def compare_runs(
    results: Path,
    out: Path,
    arms: Sequence[str],
    seeds: Sequence[int],
    *,
    structuring: Path,
    settings: Mapping[str, Any],
) -> Path:
    """Compare all arms and references and write one JSON file.

    Args:
        results: Folder of `NAME-SEED-TASK.json` and their case tables.
        out: The file to write.
        arms: Names of the arms.
        seeds: Seeds that each was run with.
        structuring: Result file of how the findings that texts are made of agree with the truth.
        settings: What the data were made with.

    Returns:
        `out`.
    """
    names = (*arms, TRUE_TEXT.name, *REFERENCES)
    compared = {task: _compared(results, task, names, seeds) for task in TASKS}
    values = {arm: _by_metric(compared, "values", arm) for arm in names}
    differences = {arm: _by_metric(compared, "differences", arm) for arm in names if arm != BASELINE}
    questions = {arm.name: arm.question for arm in (*ARMS, TRUE_TEXT)} | REFERENCES
    counts = {
        task: json.loads((results / f"{BASELINE}-{seeds[0]}-{task}.json").read_text(encoding="utf-8"))["n"]
        for task in TASKS
    }
    baseline = {metric.name: values[BASELINE][metric.name].value for metric in METRICS}
    too_close = [
        f"{metric.title}: {BASELINE} within 5 points of the {reference}"
        for metric in METRICS
        for reference in REFERENCES
        if abs(baseline[metric.name] - values[reference][metric.name].value) < SMALLEST_MARGIN
    ]
    write_json(
        out,
        {
            "benchmark_version": BENCHMARK_VERSION,
            "recipe": RECIPE,
            "settings": {**settings, "seeds": list(seeds)},
            "structuring": _structuring(structuring),
            "n": counts,
            "baseline": BASELINE,
            "arms": {name: questions[name] for name in names},
            "references": [TRUE_TEXT.name, *REFERENCES],
            "metrics": {metric.name: metric.title for metric in METRICS},
            "values": {arm: {name: asdict(each) for name, each in table.items()} for arm, table in values.items()},
            "differences": {
                arm: {name: asdict(each) for name, each in table.items()} for arm, table in differences.items()
            },
            "too_close": too_close,
            "environment": environment(),
        },
    )
    return out


def _structuring(path: Path) -> dict[str, Any]:
    """The structurer, and how what it says is present agrees with what is there."""
    judged = json.loads(path.read_text(encoding="utf-8"))
    scores = {name: judged["metrics"][f"finding/{name}"] for name in ("f1", "precision", "recall")}
    return {**judged["structurer"], **scores, "interval": judged["intervals"]["finding/f1"]}


def _compared(results: Path, task: str, names: Sequence[str], seeds: Sequence[int]) -> Comparison:
    """The evaluations of all arms and references in one task."""
    tables = {name: [read_cases(results / f"{name}-{seed}-{task}.json") for seed in seeds] for name in names}
    return compare(task, tables, BASELINE)


def _by_metric(compared: Mapping[str, Comparison], kind: str, arm: str) -> dict[str, Estimate]:
    """`values` or `differences` of an arm, by the metrics of the benchmark."""
    return {metric.name: getattr(compared[metric.task], kind)[arm][metric.name] for metric in METRICS}
