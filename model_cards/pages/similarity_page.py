"""The page of `selip similar`: one HTML file that needs no other file and no network."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..templates import render
from .charts import bar_chart


def write_similarity_page(report: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a report of `selip.training.similarity_report`; returns its path."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render("pages/similarity_page.html.jinja", page_context(report)), encoding="utf-8")
    os.replace(partial, path)
    return path


def page_context(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the template of the page shows."""
    charts = []
    for name, found in report["distributions"].items():
        heights = [100 * share for share in found["share_of_pairs"]]
        title = f"{name}: % of all pairs, those above 0"
        charts.append(bar_chart(heights, title=title, first="0", last="1", x_label="similarity"))
    return {"report": report, "charts": charts}
