"""What numbers of a result are called, and how they are written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

_NOT_PERCENT = ("brier", "ece", "scale", "penalty_strength", "margin")


@dataclass(frozen=True)
class TaskWords:
    """What a page says of a task; see evaluation_words.yaml, where all of it may be missing."""

    title: str
    question: str = ""
    truth: str = ""
    group: str = ""
    columns: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    yardsticks: Sequence[Mapping[str, Any]] = ()
    cases: tuple[str, ...] = ()
    case_words: Mapping[str, str] = field(default_factory=dict)


@cache
def _words() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("evaluation_words.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def task_words(task: str) -> TaskWords:
    """The words for a task; for one that nobody wrote words for its name alone."""
    found = _words()["tasks"].get(task)
    return TaskWords(title=task.replace("_", " ").capitalize()) if found is None else TaskWords(**found)


def picture_words(kind: str) -> str:
    """What a picture shows; its kind where nobody wrote words for it."""
    return str(_words()["pictures"].get(kind, kind.replace("_", " ").capitalize()))


def metric_title(name: str) -> str:
    """The heading of a metric by the last part of its name."""
    last = name.rpartition("/")[2]
    found = _words()["metrics"].get(last)
    return str(found[0]) if found else last.replace("_", " ")


def metric_meaning(name: str) -> str:
    """What a metric is, in a line; empty where nobody wrote one."""
    found = _words()["metrics"].get(name.rpartition("/")[2])
    return str(found[1]) if found else ""


def row_title(group: str, words: TaskWords) -> str:
    """What a group of metrics is of: the whole name looked up, then its parts."""
    if group in words.names:
        return words.names[group]
    return ", ".join(words.names.get(part, part.replace("_", " ")) for part in group.split("/")) or "all"


def is_share(name: str, value: float | None) -> bool:
    """Whether a metric is written in percent: a number from -1 to 1 that no name calls a count or a quantity."""
    last = name.rpartition("/")[2]
    if value is None or not -1 <= value <= 1 or last.startswith("n_") or "_per_" in last:
        return False
    return not (last in (*_NOT_PERCENT, "p", "p_holm") or last.endswith(("_mm", "_ml", "rank")))


def metric_text(name: str, value: float | None, ends: Sequence[float | None] | None = None) -> str:
    """A value with its unit and its interval, e.g. `61.4 % (51.8 to 70.8)`; empty where there is none."""
    if value is None or math.isnan(value):
        return ""
    last = name.rpartition("/")[2]
    factor, digits, unit = 1.0, 3, ""
    if is_share(name, value):
        factor, digits, unit = 100.0, 1, " %"
    elif last.startswith("n_"):
        digits = 0
    elif last.endswith(("_mm", "_ml")):
        digits, unit = 1, f" {last[-2:]}"
    elif last in ("p", "p_holm"):
        digits = 4
    elif last.endswith("rank"):
        digits = 0 if float(value).is_integer() else 1
    text = f"{factor * value:.{digits}f}{unit}"
    if ends is None or None in ends:
        return text
    low, high = (f"{factor * end:.{digits}f}" for end in ends if end is not None)
    return f"{text} ({low} to {high})"


def sort_key(value: float | None) -> str:
    """What a table is sorted by: the number, empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"
