"""A leaderboard as `selip leaderboard build` writes it: read, and turned into rows of text and charts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pages.charts import Interval, interval_chart

BOARD_NAME = "leaderboard.json"
Board = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes:
        text: Percent with the ends of its interval; empty where there is none.
        value: Percent, for sorting; below all others where there is none.
    """

    text: str
    value: float


@dataclass(frozen=True)
class Row:
    """One system in a table.

    Attributes:
        id: Its id.
        name: Its name.
        rank: Shared by systems that cannot be told apart from those before them.
        tied: Whether another system has this rank.
        runs: How often it was trained.
        cells: One a column.
        behind: Names of the systems that are told apart from it and better.
    """

    id: str
    name: str
    rank: int
    tied: bool
    runs: int
    cells: tuple[Cell, ...]
    behind: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One task on one part of its cases.

    Attributes:
        id: Of the part.
        title: Of the part.
        group: Kind of part, empty for the main ones.
        about: How many cases of how many patients, and yardsticks.
        columns: Headings; the first one ranks.
        rows: In the order of ranks.
        chart: Values of the first column with their intervals, SVG.
    """

    id: str
    title: str
    group: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    chart: str


@dataclass(frozen=True)
class TaskTab:
    """A task with all its tables; none where nobody handed in its cases."""

    id: str
    title: str
    tables: tuple[Table, ...]


def read_board(folder: Path) -> dict[str, Any]:
    """Read the leaderboard of a folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not one.
    """
    path = folder / BOARD_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"expected {BOARD_NAME} in {folder}, found none; make it with `selip leaderboard build`"
        )
    board = json.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in ("benchmark", "settings", "systems", "tasks", "refused") if key not in board]
    if missing:
        raise ValueError(f"expected a leaderboard in {path}, it has no {', '.join(missing)}")
    return dict(board)


def task_tabs(board: Board) -> list[TaskTab]:
    """All tasks, ready to be shown."""
    return [
        TaskTab(task["id"], task["title"], tuple(_table(task, subset, board) for subset in task["subsets"]))
        for task in board["tasks"]
    ]


def headline(board: Board) -> str:
    """Which benchmark, in a line."""
    benchmark = board["benchmark"]
    kind = ", simulated studies" if benchmark["simulated"] else ""
    return (
        f"{benchmark['name']} {benchmark['version']}{kind}, {benchmark['split']} split, fingerprint "
        f"{benchmark['fingerprint'][:12]}"
    )


def how_ranked(board: Board) -> str:
    """The rule of ranks, in a sentence."""
    settings = board["settings"]
    return (
        f"{settings['rule'][:1].upper()}{settings['rule'][1:]}. Intervals: 95 %, {settings['bootstrap_samples']} "
        "draws; of one run they say nothing of what another training would have given. Tables of parts are many: a "
        "difference in one of them alone is a hint, not a finding."
    )


def _table(task: Mapping[str, Any], subset: Mapping[str, Any], board: Board) -> Table:
    columns = [column["id"] for column in task["columns"]]
    shared = [row["rank"] for row in subset["rows"]]
    systems = board["systems"]
    rows = tuple(
        Row(
            id=row["system"],
            name=systems[row["system"]]["system"],
            rank=row["rank"],
            tied=shared.count(row["rank"]) > 1,
            runs=systems[row["system"]]["runs"],
            cells=tuple(_cell(row["cells"].get(column)) for column in columns),
            behind=tuple(systems[other]["system"] for other in row["behind"]),
        )
        for row in subset["rows"]
    )
    yardsticks = "; ".join(f"{name} {100 * value:.1f}" for name, value in subset["yardsticks"].items())
    return Table(
        id=subset["id"],
        title=subset["title"],
        group=subset["group"],
        about=f"{subset['count']}, {subset['patients']} patients" + (f"; {yardsticks}" if yardsticks else ""),
        columns=tuple(column["title"] for column in task["columns"]),
        rows=rows,
        chart=_chart(task, subset, rows),
    )


def _cell(cell: Mapping[str, Any] | None) -> Cell:
    if cell is None or cell["value"] is None:
        return Cell("", -1.0)
    value = 100 * cell["value"]
    if cell["low"] is None:
        return Cell(f"{value:.1f}", value)
    return Cell(f"{value:.1f} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]", value)


def _chart(task: Mapping[str, Any], subset: Mapping[str, Any], rows: Sequence[Row]) -> str:
    column = task["columns"][0]
    intervals = []
    for row, content in zip(rows, subset["rows"], strict=True):
        cell = content["cells"][column["id"]]
        ends = [cell["value"] if end is None else end for end in (cell["low"], cell["high"])]
        intervals.append(
            Interval(
                label=f"{row.rank}. {row.name}",
                value=100 * cell["value"],
                low=100 * ends[0],
                high=100 * ends[1],
                points=tuple(100 * value for value in cell["by_run"]),
                is_strong=row.rank == 1,
            )
        )
    title = f"{task['title']}, {subset['title']}: {column['title']}, percent"
    chance = next((100 * value for name, value in subset["yardsticks"].items() if name.startswith("chance")), None)
    return interval_chart(intervals, title=title, mark=chance, mark_label="chance")
