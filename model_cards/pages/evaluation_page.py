"""A page that shows what an evaluation found: one HTML file that needs no other file and no network.

It is made of result files, their tables of cases and their pictures alone, and knows no task by name: what is said of
a task in plain words stands in evaluation_words.yaml.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selip.processing.atomic_files import replacing

from ..templates import render
from .charts import interval_bar
from .evaluation_cases import ReportedResult, cases_table
from .evaluation_caveats import MISSING_CAVEAT, caveats, data_caveats
from .evaluation_heat import heat_table
from .evaluation_words import (
    TaskWords,
    is_share,
    metric_meaning,
    metric_text,
    metric_title,
    picture_words,
    row_title,
    sort_key,
    task_words,
)
from .pictures import png_uri

# Of a task without words: metrics beside the headline.
_MOST_COLUMNS = 6
# Rows that are no group of cases.
_OTHER_GROUPS = ("templates",)


def write_evaluation_page(
    results: Sequence[ReportedResult], path: Path, *, max_cases: int, gated: Sequence[str] = ()
) -> Path:
    """Write the page, atomically; returns its path.

    Args:
        results: At least one, all of one checkpoint.
        path: HTML file.
        max_cases: Cases of each result that are listed.
        gated: Data sets among those of the studies that may not be shown; with any, no picture is on the page.

    Raises:
        ValueError: The results are of several checkpoints.
    """
    subjects = {json.dumps(each.record.get("checkpoint", {}), sort_keys=True) for each in results}
    if len(subjects) != 1:
        raise ValueError(
            f"expected results of one checkpoint, got {len(subjects)}; make a page of each, and set two side by side "
            "with `selip compare`"
        )
    if gated:
        results = [replace(each, pictures={}) for each in results]
    html = render("pages/evaluation_page.html.jinja", {**page_context(results, max_cases), "gated": gated})
    with replacing(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return path


def page_context(results: Sequence[ReportedResult], max_cases: int) -> dict[str, Any]:
    """What the template shows."""
    sections = [_missing_section(each) if "sets" in each.record else _section(each, max_cases) for each in results]
    for number, section in enumerate(sections, start=1):
        section["anchor"] = f"result-{number}"
    checkpoint = results[0].record.get("checkpoint", {})
    return {
        "title": sections[0]["title"]
        if len(sections) == 1
        else f"Evaluation of the checkpoint {checkpoint.get('name', '')}",
        "checkpoint": {"name": checkpoint.get("name", ""), "sha256": checkpoint.get("sha256", "")},
        "is_simulated": any(each.record.get("simulated") for each in results),
        "has_texts": any("examples" in each.pictures for each in results),
        "sections": sections,
    }


def _section(result: ReportedResult, max_cases: int) -> dict[str, Any]:
    """One result of `selip evaluate`."""
    record = result.record
    words = task_words(record["task"])
    metrics, intervals, primary = record["metrics"], record["intervals"], record["primary_metric"]
    yardsticks = _yardsticks(words, metrics)
    table = _table(record, words)
    return {
        **_about(result, words.title),
        "question": words.question,
        "truth": words.truth,
        "headline": {
            "value": metric_text(primary, metrics[primary]),
            "interval": _interval_words(primary, record),
            "title": f"{metric_title(primary)}, {row_title(primary.rpartition('/')[0], words)}",
            "meaning": metric_meaning(primary),
            "direction": "more is better" if record.get("greater_is_better", True) else "less is better",
        },
        "yardsticks": [{"value": metric_text(primary, value), "words": said} for value, said in yardsticks],
        "table": table,
        "heat": None,
        "glossary": _glossary(table["columns"]),
        "pictures": _pictures(result.pictures),
        "cases": cases_table(result, words, max_cases),
        "all_metrics": [
            {"name": name, "text": metric_text(name, value, intervals.get(name))} for name, value in metrics.items()
        ],
        "caveats": list(caveats(record)),
    }


def _about(result: ReportedResult, title: str) -> dict[str, Any]:
    """What is shown of every result alike."""
    record = result.record
    settings, data = record.get("settings", {}), record.get("data", {})
    split = data.get("split", "")
    protocol = settings.get("protocol")
    return {
        "title": f"{title}, {split} {'studies' if split == 'all' else 'split'}" if split else title,
        "file": result.name,
        "counts": [f"{count:,} {name}" for name, count in record.get("n", {}).items()],
        "protocol": f"{protocol} ({settings.get('protocol_sha256', '')[:12]})" if protocol else "",
        "says_left_out": "skipped" in record,
        "left_out": [(reason, count) for reason, count in record.get("skipped", {}).items() if count],
        "labels_left_out": settings.get("labels_left_out", []),
        "settings": [(name, _plain(value)) for name, value in settings.items()],
        "data": [(name.replace("_", " "), _plain(value)) for name, value in data.items()],
        "environment": [(name.replace("_", " "), _plain(value)) for name, value in record["environment"].items()],
        "command": record["command"],
    }


def _yardsticks(words: TaskWords, metrics: Mapping[str, float]) -> list[tuple[float, str]]:
    """Value and words of those that the result has."""
    found = [
        (each["value"] if "value" in each else metrics.get(each["metric"]), each["words"]) for each in words.yardsticks
    ]
    return [(value, said) for value, said in found if value is not None]


def _chance(group: str, words: TaskWords, metrics: Mapping[str, float]) -> float | None:
    """What chance would give a group: a number, or the group's own metric of the name of the headline's."""
    for each in words.yardsticks:
        if each.get("chance"):
            return each["value"] if "value" in each else metrics.get(_joined(group, each["metric"].rpartition("/")[2]))
    return None


def _table(record: Mapping[str, Any], words: TaskWords) -> dict[str, Any]:
    """The main table: a row for each group that has the metric that ranks."""
    metrics, intervals, primary = record["metrics"], record["intervals"], record["primary_metric"]
    own, _, kind = primary.rpartition("/")
    names = _group_names(metrics)
    groups = [own, *(group for group in names if group != own and group.split("/")[0] not in _OTHER_GROUPS)]
    # a group without the metric that ranks is there for what else is shown of it, e.g. studies without a lesion
    columns = [kind, *(words.columns or _common_columns(metrics, intervals, kind))]
    columns = [column for column in columns if any(_joined(group, column) in metrics for group in groups)]
    rows = []
    for group in groups:
        shown = [_joined(group, column) for column in columns]
        if not any(name in metrics for name in shown) or (kind not in names[group] and not words.columns):
            continue
        value, ends = metrics.get(shown[0]), intervals.get(shown[0])
        drawable = is_share(kind, value) and ends is not None and None not in ends
        rows.append(
            {
                "name": row_title(group, words),
                "is_headline": group == own,
                "bar": interval_bar(value, *ends, mark=_chance(group, words, metrics)) if drawable else "",
                "cells": [
                    {
                        "text": metric_text(name, metrics.get(name), intervals.get(name) if place == 0 else None),
                        "sort": sort_key(metrics.get(name)),
                    }
                    for place, name in enumerate(shown)
                ],
            }
        )
    return {
        "group": words.group or "group",
        "columns": [{"name": name, "title": metric_title(name), "meaning": metric_meaning(name)} for name in columns],
        "rows": rows,
        "has_bars": any(row["bar"] for row in rows),
    }


def _group_names(metrics: Mapping[str, Any]) -> dict[str, set[str]]:
    """Last parts of the names of the metrics of every group, in the order of the result."""
    groups: dict[str, set[str]] = {}
    for name in metrics:
        group, _, last = name.rpartition("/")
        groups.setdefault(group, set()).add(last)
    return groups


def _common_columns(metrics: Mapping[str, Any], intervals: Mapping[str, Any], kind: str) -> list[str]:
    """Of a task without words: other metrics that have intervals, and numbers of cases."""
    found = dict.fromkeys(name.rpartition("/")[2] for name in metrics if name in intervals)
    counts = dict.fromkeys(name.rpartition("/")[2] for name in metrics if name.rpartition("/")[2].startswith("n_"))
    return [*[name for name in found if name != kind][:_MOST_COLUMNS], *counts][: _MOST_COLUMNS + 1]


def _glossary(columns: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(column["title"], column["meaning"]) for column in columns if column["meaning"]]


def _pictures(pictures: Mapping[str, bytes]) -> list[dict[str, str]]:
    return [
        {"kind": kind.replace("_", " "), "words": picture_words(kind), "uri": png_uri(content)}
        for kind, content in pictures.items()
    ]


def _interval_words(primary: str, record: Mapping[str, Any]) -> str:
    ends = record["intervals"].get(primary)
    if ends is None or None in ends:
        return "no interval"
    low, high = (metric_text(primary, end) for end in ends)
    return f"{100 * record.get('settings', {}).get('confidence', 0.95):.0f} % interval {low} to {high}"


def _left_out(record: Mapping[str, Any]) -> list[str]:
    """Which sets of sequences are not in the table; their reasons, which may name files, stand in the result alone."""
    titles = ", ".join(record.get("left_out", {}))
    return [f"Left out, because the task cannot be asked of them: {titles}."] if titles else []


def _missing_section(result: ReportedResult) -> dict[str, Any]:
    """The result of `selip missing`: sets of sequences against metrics."""
    record = result.record
    task = record["task"].removeprefix("missing: ")
    words, headline = task_words(task), record["headline"]
    sets = record["sets"]
    first = sets[0]
    names = record.get("compared") or [headline]
    section = _about(result, f"{words.title}, sequences left out")
    return {
        **section,
        "question": (
            "Studies were evaluated again and again, each time as if they had no other sequences than those named. "
            f"What does each sequence add? {words.question}"
        ),
        "truth": words.truth,
        "counts": [f"{first['n'].get('studies', 0):,} studies", f"{len(sets)} sets of sequences"],
        "headline": {
            "value": metric_text(headline, first["metrics"][headline]),
            "interval": _interval_words(headline, {**record, "intervals": first["intervals"]}),
            "title": f"{metric_title(headline)} with all sequences",
            "meaning": metric_meaning(headline),
            "direction": "",
        },
        "yardsticks": [
            {"value": metric_text(headline, value), "words": said}
            for value, said in _yardsticks(words, first["metrics"])
        ],
        "table": None,
        "heat": {"headline": metric_title(headline), **heat_table(sets, names, words)},
        "glossary": [(metric_title(headline), metric_meaning(headline))] if metric_meaning(headline) else [],
        # the table of the page says the same, and can be read on a phone and copied
        "pictures": [] if "compared" in record else _pictures(result.pictures),
        "cases": None,
        "all_metrics": [],
        "caveats": [*data_caveats(record), MISSING_CAVEAT, *_left_out(record)],
    }


def _joined(group: str, last: str) -> str:
    return f"{group}/{last}" if group else last


def _plain(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
