"""Result files as tables: from the JSON of `selip evaluate` to rows of text."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ResultRow:
    """One line of a results table; percentages as text, empty where there is none."""

    name: str
    recall_1: str
    recall_5: str
    interval: str
    chance: str
    blind: str
    recall_10: str
    median_rank: str
    candidates: str
    queries: str


@dataclass(frozen=True)
class ResultTable:
    """A result file, ready for a page.

    Attributes:
        title: What was evaluated.
        subtitle: On what.
        rows: Of a retrieval; of any other task none.
        command: What makes it again.
        columns: Of any other task: the metrics that are shown.
        lines: Of any other task: what a line is of, then the metrics in percent with their intervals.
    """

    title: str
    subtitle: str
    rows: tuple[ResultRow, ...]
    command: str
    columns: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()


_COUNTED = {"series": "series", "texts": "unique texts", "pairs": "pairs", "labels": "labels"}
# What a reader wants beside the metric that ranks.
_BESIDE = {"zero_shot": ("auprc", "polarity", "laterality")}


def read_result(path: Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not the result of an evaluation.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a result file of `selip evaluate`, found none at {path}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    missing = [key for key in ("task", "metrics", "intervals", "n", "command") if key not in record]
    if missing:
        raise ValueError(f"expected a result file of `selip evaluate`, {path} has no {', '.join(missing)}")
    return dict(record)


def result_table(record: dict[str, Any]) -> ResultTable:
    """The rows that a reader wants first.

    Of a retrieval: within the sequence, in both directions, then by sequence. Of any other task: every metric of the
    kind that ranks, with its interval.

    Raises:
        ValueError: It is not the result of a checkpoint.
    """
    metrics = record["metrics"]
    groups = [key.rpartition("/")[0] for key in metrics if key.endswith("/recall@5")]
    groups = [group for group in dict.fromkeys(groups) if not group.rpartition("/")[2].startswith(("chance", "blind"))]
    forward = [group for group in groups if group.endswith("/image_to_text")]
    backward = [group for group in groups if group in ("within_sequence/text_to_image", "overall/text_to_image")]
    if record["task"] == "structuring":
        raise ValueError(f"expected the result of a checkpoint, got one of the task {record['task']}")
    columns, lines = ((), ()) if groups else _metric_lines(record)
    split = record.get("data", {}).get("split", "")
    task = record["task"].capitalize().replace("_", "-")
    return ResultTable(
        title=f"{task}, {split} split" if split else task,
        subtitle=_subtitle(record),
        rows=tuple(_row(group, metrics, record["intervals"]) for group in (*forward, *backward)),
        command=record["command"],
        columns=columns,
        lines=lines,
    )


def _subtitle(record: dict[str, Any]) -> str:
    """How many of what, and by which protocol where there is one."""
    count = record["n"]
    kind = "simulated studies" if record.get("simulated") else "studies"
    parts = [f"{count['studies']} {kind} of {count['patients']} patients"]
    parts += [f"{count[name]} {words}" for name, words in _COUNTED.items() if name in count]
    settings = record.get("settings", {})
    if "protocol" in settings:
        parts.append(f"protocol {settings['protocol']} ({settings['protocol_sha256'][:12]})")
    return ", ".join(parts) + "."


def _metric_lines(record: dict[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and lines of a task that is no retrieval: each metric like the one that ranks that has an interval."""
    metrics, intervals, primary = record["metrics"], record["intervals"], record.get("primary_metric", "")
    columns = (primary.rpartition("/")[2], *_BESIDE.get(record["task"], ()))
    shown = [key for key in metrics if key == primary or (key.rpartition("/")[2] in columns and key in intervals)]
    names = dict.fromkeys([primary.rpartition("/")[0], *(key.rpartition("/")[0] for key in shown)])

    def cell(key: str) -> str:
        value, ends = metrics.get(key), intervals.get(key)
        if value is None or key not in shown:
            return ""
        text = f"{100 * value:.1f}"
        return text if ends is None or None in ends else f"{text} ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"

    return columns, tuple((name, *(cell(f"{name}/{column}") for column in columns)) for name in names)


def _row(group: str, metrics: dict[str, Any], intervals: dict[str, Any]) -> ResultRow:
    scope, _, direction = group.partition("/")
    name = scope.replace("_", " ")
    if direction == "text_to_image":
        name += ", text to series"

    def percent(metric: str) -> str:
        value = metrics.get(f"{group}/{metric}")
        return "" if value is None else f"{100 * value:.1f}"

    def number(metric: str) -> str:
        value = metrics.get(f"{group}/{metric}")
        return "" if value is None else f"{value:.1f}".removesuffix(".0")

    ends = intervals.get(f"{group}/recall@5")
    return ResultRow(
        name=name,
        recall_1=percent("recall@1"),
        recall_5=percent("recall@5"),
        interval="" if ends is None or None in ends else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}",
        chance=percent("chance_recall@5"),
        blind=percent("blind_recall@5"),
        recall_10=percent("recall@10"),
        median_rank=number("median_rank"),
        candidates=number("n_candidates"),
        queries=number("n_queries"),
    )
