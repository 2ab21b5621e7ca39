"""From the result files of all runs to one comparison."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

from selip.processing.atomic_files import write_json

from ..evaluation.comparison import Estimate, compare
from ..evaluation.provenance import environment
from ..evaluation.result_file import read_cases
from .arms import ARMS, BASELINE, BENCHMARK_VERSION, RECIPES, TRUE_TEXT
from .downstream import SCRATCH


@dataclass(frozen=True)
class Metric:
    """A number that systems are compared by.

    Attributes:
        name: Its name in the result file of its task.
        title: Heading of its column.
        task: Which evaluation it comes from.
        result: Last part of the name of its result file; that of the task if empty.
    """

    name: str
    title: str
    task: str
    result: str = ""

    @property
    def file(self) -> str:
        """Last part of the name of its result file."""
        return self.result or self.task

    @property
    def key(self) -> str:
        """Its name in the comparison."""
        return f"{self.result}: {self.name}" if self.result else self.name


METRICS = (
    Metric("within_sequence_abnormal/image_to_text/recall@5", "series to report, R@5", "retrieval"),
    Metric("within_sequence_abnormal/text_to_image/recall@5", "report to series, R@5", "retrieval"),
    Metric("all/image_to_text/accuracy", "minimal pairs", "pairs"),
    Metric("side/image_to_text/accuracy", "pairs: side", "pairs"),
    Metric("signal/image_to_text/accuracy", "pairs: signal", "pairs"),
    Metric("size/image_to_text/accuracy", "pairs: size", "pairs"),
    Metric("removed/image_to_text/accuracy", "pairs: removed", "pairs"),
    Metric("macro/auroc", "zero-shot, area", "zero_shot"),
    Metric("mean/auroc", "linear probe, area", "probe"),
)
HEAD_METRICS = (
    Metric("mean/auroc", "labels, 1 %: area", "classification", "labels-1-classification"),
    Metric("mean/auroc", "labels, 10 %: area", "classification", "labels-10-classification"),
    Metric("mean/auroc", "labels, all: area", "classification", "labels-100-classification"),
    Metric("dice", "masks: Dice", "segmentation", "masks-segmentation"),
    Metric("all/map", "boxes: mAP", "detection", "masks-detection"),
)
REFERENCES = {
    "floor": "statistics of each volume's intensities, which know nothing of place",
    "ceiling": "the same network, told true labels in place of words, of three times the studies, for twice the steps",
}
NOT_OF_REFERENCES = ("zero_shot",)
"""Tasks that references take no part in: they know the labels of reports, not prompts."""
# A baseline this close to floor or ceiling leaves no room for a difference between arms.
SMALLEST_MARGIN = 0.05
# A difference of so many standard errors is found in 80 of 100 repetitions, by a two-sided test at 5 %.
DETECTABLE_ERRORS = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
INTERVAL_ERRORS = 2 * NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class BenchmarkRuns:
    """What has been run.

    Attributes:
        results: Folder of `NAME-SEED-TASK.json` and their case tables.
        arms: Names of the arms.
        seeds: Seeds that each was run with.
        chosen: Arms that heads were trained on; none if empty.
        head_seeds: Seeds that heads were trained for.
    """

    results: Path
    arms: Sequence[str]
    seeds: Sequence[int]
    chosen: Sequence[str] = ()
    head_seeds: Sequence[int] = ()


@dataclass(frozen=True)
class _Table:
    """Systems by metric.

    Attributes:
        values: By system and metric.
        differences: From the baseline, by system and metric.
    """

    values: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]

    def as_json(self) -> dict[str, Any]:
        """The same as plain numbers."""
        return {
            kind: {
                system: {name: asdict(each) for name, each in row.items()}
                for system, row in getattr(self, kind).items()
            }
            for kind in ("values", "differences")
        }

    def detectable(self, metrics: Sequence[Metric]) -> dict[str, float]:
        """By metric, the difference from the baseline that is found with a power of 80 %: median over the systems."""
        found = {}
        for metric in metrics:
            rows = [row[metric.key] for row in self.differences.values() if metric.key in row]
            errors = [(each.high - each.low) / INTERVAL_ERRORS for each in rows]
            if errors:
                found[metric.key] = DETECTABLE_ERRORS * median(errors)
        return found


def compare_runs(out: Path, runs: BenchmarkRuns, *, structuring: Path, settings: Mapping[str, Any]) -> Path:
    """Compare all arms and references, and the heads, and write one JSON file.

    Args:
        out: The file to write.
        runs: What has been run.
        structuring: Result file of how the findings that texts are made of agree with the truth.
        settings: What the data were made with.

    Returns:
        `out`.
    """
    names = (*runs.arms, TRUE_TEXT.name, *REFERENCES)
    table = _table(runs.results, METRICS, names, runs.seeds, BASELINE)
    questions = {arm.name: arm.question for arm in (*ARMS, TRUE_TEXT)} | REFERENCES
    counts = {
        task: _count(runs.results / f"{BASELINE}-{runs.seeds[0]}-{task}.json")
        for task in dict.fromkeys(metric.task for metric in METRICS)
    }
    write_json(
        out,
        {
            "benchmark_version": BENCHMARK_VERSION,
            "recipe": RECIPES[settings["size"]],
            "settings": {**settings, "seeds": list(runs.seeds)},
            "structuring": _structuring(structuring),
            "n": counts,
            "baseline": BASELINE,
            "arms": {name: questions[name] for name in names},
            "references": [TRUE_TEXT.name, *REFERENCES],
            "metrics": {metric.key: metric.title for metric in METRICS},
            **table.as_json(),
            "detectable": table.detectable(METRICS),
            "too_close": _too_close(table),
            "heads": _heads(runs) if runs.chosen else None,
            "environment": environment(),
        },
    )
    return out


def _heads(runs: BenchmarkRuns) -> dict[str, Any]:
    """Heads on the chosen arms against heads from scratch."""
    table = _table(runs.results, HEAD_METRICS, (*runs.chosen, SCRATCH), runs.head_seeds, SCRATCH)
    return {
        "seeds": list(runs.head_seeds),
        "chosen": list(runs.chosen),
        "baseline": SCRATCH,
        "metrics": {metric.key: metric.title for metric in HEAD_METRICS},
        **table.as_json(),
        "detectable": table.detectable(HEAD_METRICS),
    }


def _table(
    results: Path, metrics: Sequence[Metric], names: Sequence[str], seeds: Sequence[int], baseline: str
) -> _Table:
    """Every system in every metric that it has."""
    values: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    differences: dict[str, dict[str, Estimate]] = {name: {} for name in names if name != baseline}
    for task, file in dict.fromkeys((metric.task, metric.file) for metric in metrics):
        systems = [name for name in names if not (task in NOT_OF_REFERENCES and name in REFERENCES)]
        tables = {name: [read_cases(results / f"{name}-{seed}-{file}.json") for seed in seeds] for name in systems}
        compared = compare(task, tables, baseline)
        for metric in metrics:
            if metric.file == file:
                for name in systems:
                    values[name][metric.key] = compared.values[name][metric.name]
                    if name != baseline:
                        differences[name][metric.key] = compared.differences[name][metric.name]
    return _Table(values, differences)


def _too_close(table: _Table) -> list[str]:
    """The metrics in which the baseline leaves no room for a difference between arms."""
    own = table.values[BASELINE]
    return [
        f"{metric.title}: {BASELINE} within 5 points of the {reference}"
        for metric in METRICS
        for reference in REFERENCES
        if metric.key in table.values[reference]
        and abs(own[metric.key].value - table.values[reference][metric.key].value) < SMALLEST_MARGIN
    ]


def _count(result: Path) -> dict[str, int]:
    """How many of what an evaluation saw."""
    return dict(json.loads(result.read_text(encoding="utf-8"))["n"])


def _structuring(path: Path) -> dict[str, Any]:
    """The structurer, and how what it says is present agrees with what is there."""
    judged = json.loads(path.read_text(encoding="utf-8"))
    scores = {name: judged["metrics"][f"finding/{name}"] for name in ("f1", "precision", "recall")}
    return {**judged["structurer"], **scores, "interval": judged["intervals"]["finding/f1"]}
