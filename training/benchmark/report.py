"""From the result files of all runs to one comparison."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selip.processing.sources.studies import write_json

from ..evaluation.provenance import environment
from .arms import ARMS, BASELINE, BENCHMARK_VERSION, RECIPE, TRUE_TEXT
from .comparison import METRICS, ArmRuns, compare

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
    runs = {name: read_runs(results, name, seeds) for name in names}
    values, differences = compare(runs, BASELINE)
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


def read_runs(results: Path, name: str, seeds: Sequence[int]) -> ArmRuns:
    """The evaluations of one arm or reference, in the order of the seeds."""
    points: dict[str, tuple[Mapping[str, float], ...]] = {}
    cases: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for task in TASKS:
        paths = [results / f"{name}-{seed}-{task}.json" for seed in seeds]
        points[task] = tuple(json.loads(path.read_text(encoding="utf-8"))["metrics"] for path in paths)
        tables = [pq.read_table(path.with_suffix(".cases.parquet")).to_pandas() for path in paths]
        cases[task] = tuple({column: table[column].to_numpy() for column in table} for table in tables)
    return ArmRuns(points, cases)
