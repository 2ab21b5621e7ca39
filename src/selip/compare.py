"""`selip compare`: two evaluations on the same studies, and the interval of their difference.

    selip compare runs/selip/evaluation/best-retrieval-test.json runs/clip/evaluation/best-retrieval-test.json

All metrics are computed again from the tables of cases beside the result files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selip.model_cards.tables.results import read_result
from selip.training.evaluation.comparison import Comparison, Estimate, compare
from selip.training.evaluation.comparison_config import CompareConfig
from selip.training.evaluation.provenance import environment
from selip.training.evaluation.result_file import (
    FORMAT_VERSION,
    ResultRecord,
    command_line,
    read_cases,
    write_result,
)

_FIRST, _SECOND = "first", "second"


def compare_results(config: CompareConfig) -> ResultRecord:
    """Compare two systems by their result files.

    Returns:
        What the JSON file holds: `values` of both systems and `differences` (first - second) by metric, each with
        `value`, `low`, `high` (95 %, patients and seeds) and `by_seed`.

    Raises:
        FileExistsError: There is a file of that name already and `overwrite` is off.
        FileNotFoundError: A result file or its table of cases is not there.
        ValueError: The results are of different tasks or cases, or no metric has the words asked for.
    """
    out = config.out
    if out is not None and out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; choose another --out, or say --overwrite")
    records = {_FIRST: _read(config.first), _SECOND: _read(config.second)}
    tasks = {record["task"] for each in records.values() for record in each}
    if len(tasks) != 1:
        raise ValueError(f"expected results of one task, got {', '.join(sorted(tasks))}")
    task = tasks.pop()
    tables = {_FIRST: _tables(config.first), _SECOND: _tables(config.second)}
    found = compare(task, tables, _SECOND, num_samples=config.bootstrap_samples, seed=config.seed)
    primary = records[_FIRST][0]["primary_metric"]
    record = ResultRecord(_content(config, task, primary, records, found), "")
    record.summary = comparison_table(record, _shown(record, config.metric))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_result(record, out)
    return record


def _read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    return [read_result(path) for path in paths]


def _tables(paths: Sequence[Path]) -> list[Any]:
    return [read_cases(path) for path in paths]


def _content(
    config: CompareConfig,
    task: str,
    primary: str,
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    found: Comparison,
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "task": task,
        "primary_metric": primary,
        "simulated": any(record.get("simulated", False) for each in records.values() for record in each),
        "n": dict(records[_FIRST][0]["n"]),
        "systems": {name: [record.get("checkpoint", {}) for record in each] for name, each in records.items()},
        "values": {name: _as_dicts(each) for name, each in found.values.items()},
        "differences": _as_dicts(found.differences[_FIRST]),
        "settings": {
            "interval": "95 %, percentile bootstrap over patients and seeds, the same draws for both",
            "bootstrap_samples": config.bootstrap_samples,
            "seed": config.seed,
        },
        "command": command_line(config, "compare"),
        "environment": environment(),
    }


def _as_dicts(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def _shown(record: Mapping[str, Any], words: str) -> list[str]:
    """Names of the metrics to show, the primary one first.

    Raises:
        ValueError: No metric has these words.
    """
    primary, differences = record["primary_metric"], record["differences"]
    kind = words or primary.rpartition("/")[2]
    chosen = [name for name in differences if (kind in name if words else name.rpartition("/")[2] == kind)]
    if not chosen:
        raise ValueError(f"expected words of a metric of {record['task']} results, such as {primary}, got {words!r}")
    return sorted(chosen, key=lambda name: name != primary)


def comparison_table(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """Values and differences in percent as lines of text; a star marks an interval that leaves 0 out."""
    simulated = ", simulated studies" if record["simulated"] else ""
    seeds = len(record["systems"][_FIRST])
    lines = [
        f"{record['task']}: first minus second, {record['n'].get('patients', '?')} patients{simulated}, {seeds} "
        f"{'result' if seeds == 1 else 'results'} each; percent [95 % interval over patients"
        f"{'' if seeds == 1 else ' and seeds'}]; * leaves 0 out",
        f"{'':<52}{'first':>8}{'second':>8}  difference",
    ]
    for name in names:
        first, second = (record["values"][system][name]["value"] for system in (_FIRST, _SECOND))
        each = record["differences"][name]
        star = " *" if each["low"] > 0 or each["high"] < 0 else ""
        lines.append(
            f"{name:<52}{100 * first:8.1f}{100 * second:8.1f}  {100 * each['value']:+.1f} "
            f"[{100 * each['low']:+.1f}, {100 * each['high']:+.1f}]{star}"
        )
    if seeds == 1:
        lines.append("one result each: the interval says nothing of what another training would have given")
    return "\n".join(lines)
