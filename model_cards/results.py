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
    """A result file, ready for a page."""

    title: str
    subtitle: str
    rows: tuple[ResultRow, ...]
    command: str


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
    """The rows that a reader wants first: retrieval within the sequence, in both directions, then by sequence."""
    metrics = record["metrics"]
    groups = [key.rpartition("/")[0] for key in metrics if key.endswith("/recall@5")]
    groups = [group for group in dict.fromkeys(groups) if not group.rpartition("/")[2].startswith(("chance", "blind"))]
    forward = [group for group in groups if group.endswith("/image_to_text")]
    backward = [group for group in groups if group in ("within_sequence/text_to_image", "overall/text_to_image")]
    count = record["n"]
    if "series" not in count:
        raise ValueError(f"expected the result of a checkpoint, got one of the task {record['task']}")
    kind = "simulated studies" if record.get("simulated") else "studies"
    split = record.get("data", {}).get("split", "")
    return ResultTable(
        title=f"{record['task'].capitalize()}, {split} split" if split else record["task"].capitalize(),
        subtitle=(
            f"{count['studies']} {kind} of {count['patients']} patients, {count['series']} series, "
            f"{count['texts']} unique texts."
        ),
        rows=tuple(_row(group, metrics, record["intervals"]) for group in (*forward, *backward)),
        command=record["command"],
    )


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
