"""The pages of a leaderboard: one HTML file that needs no network, and the same as Markdown."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..templates import render
from .tables import Board, TaskTab, headline, how_ranked, task_tabs

PAGE_NAME, MARKDOWN_NAME = "index.html", "leaderboard.md"
_SELF_REPORTED_SHOWN = 12


def write_leaderboard_pages(board: Board, folder: Path) -> None:
    """Write `index.html` and `leaderboard.md` of a leaderboard into a folder."""
    (folder / PAGE_NAME).write_text(leaderboard_page(board), encoding="utf-8")
    (folder / MARKDOWN_NAME).write_text(leaderboard_markdown(board), encoding="utf-8")


def leaderboard_page(board: Board) -> str:
    """The HTML page: tabs of tasks, parts to choose from, tables to sort, intervals."""
    script = render("leaderboard/script.js.jinja", {})
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render("leaderboard/page.html.jinja", {**_context(board), "script": Markup(script), "script_hash": digest})


def leaderboard_markdown(board: Board) -> str:
    """The main tables as Markdown; words of others cannot become markup in it."""
    return render("leaderboard/page.md.jinja", {**_context(board), "text": markdown_text})


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&-])", r"\\\1", " ".join(text.split()))


def _context(board: Board) -> dict[str, Any]:
    return {
        "board": board,
        "headline": headline(board),
        "rule": how_ranked(board),
        "tabs": task_tabs(board),
        "groups": _groups,
        "self_reported": _self_reported(board),
    }


def _groups(tab: TaskTab) -> dict[str, list[Any]]:
    """Tables of a task by kind of part, the main ones first under an empty name."""
    found: dict[str, list[Any]] = {}
    for table in tab.tables:
        found.setdefault(table.group, []).append(table)
    return found


def _self_reported(board: Board) -> list[dict[str, Any]]:
    """Self-reported values by system and task, the first few and the number of all."""
    found: dict[tuple[str, str], list[Any]] = {}
    for each in board["self_reported"]:
        found.setdefault((each["system"], each["task"]), []).append(each)
    return [
        {
            "name": board["systems"][system]["system"],
            "task": task,
            "values": sorted(values, key=lambda each: (each["metric"].count("/") > 2, each["metric"]))[
                :_SELF_REPORTED_SHOWN
            ],
            "count": len(values),
        }
        for (system, task), values in found.items()
    ]
