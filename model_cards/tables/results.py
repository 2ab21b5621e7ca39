"""Result files of retrieval: from the JSON of `selip evaluate` to rows of text."""

import json
from collections.abc import Mapping
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
    """The result of a retrieval, ready for a page.

    Attributes:
        title: What was evaluated.
        subtitle: On what.
        rows: Its lines.
        command: What makes it again.
    """

    title: str
    subtitle: str
    rows: tuple[ResultRow, ...]
    command: str


_COUNTED = {"series": "series", "texts": "unique texts"}


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


def result_table(record: Mapping[str, Any]) -> ResultTable:
    """The rows that a reader wants first: within the sequence, in both directions, then by sequence.

    Raises:
        ValueError: It is not the result of a retrieval.
    """
    rows = retrieval_rows(record)
    if not rows:
        raise ValueError(f"expected the result of a retrieval, got one of the task {record['task']}")
    split = record.get("data", {}).get("split", "")
    task = record["task"].capitalize().replace("_", "-")
    title = f"{task}, {split} split" if split else task
    return ResultTable(title, _subtitle(record), rows, record["command"])


def retrieval_rows(record: Mapping[str, Any]) -> tuple[ResultRow, ...]:
    """One row for each scope and direction of a retrieval; none of any other task."""
    metrics = record["metrics"]
    groups = [key.rpartition("/")[0] for key in metrics if key.endswith("/recall@5")]
    groups = [group for group in dict.fromkeys(groups) if not group.rpartition("/")[2].startswith(("chance", "blind"))]
    forward = [group for group in groups if group.endswith("/image_to_text")]
    backward = [group for group in groups if group in ("within_sequence/text_to_image", "overall/text_to_image")]
    return tuple(_row(group, metrics, record["intervals"]) for group in (*forward, *backward))


def _subtitle(record: Mapping[str, Any]) -> str:
    """How many of what."""
    count = record["n"]
    kind = "simulated studies" if record.get("simulated") else "studies"
    parts = [f"{count['studies']} {kind} of {count['patients']} patients"]
    parts += [f"{count[name]} {words}" for name, words in _COUNTED.items() if name in count]
    return ", ".join(parts) + "."


def _row(group: str, metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> ResultRow:
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
