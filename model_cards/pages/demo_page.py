"""The page of the demo: one HTML file that needs no other file and no network."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tables.results import ResultTable, read_result, result_table
from ..templates import render
from .charts import line_chart
from .pictures import png_uri

SHOWN_TEXTS = 8

# Curves of metrics.jsonl that the page shows where they are logged, with their headings.
CURVES = {
    "loss": "training loss",
    "validation/mean_reciprocal_rank": "mean reciprocal rank, validation",
    "studies_per_second": "studies per second",
}

USAGE = """from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{checkpoint}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{checkpoint}", trust_remote_code=True)
batch = processor(images={{"{sequence}": "{volume}"}}, text=["...", "..."], return_tensors="pt")
logits = model(**batch).logits_per_image"""


@dataclass(frozen=True)
class StageRecord:
    """One stage of the demo: what was typed and how long it took."""

    name: str
    command: str
    seconds: float


@dataclass(frozen=True)
class DemoRecord:
    """Where the results of a demo lie.

    Attributes:
        result: Result file of `selip evaluate`.
        structuring: Result file of `selip evaluate --task structuring`.
        ranking: JSON of the fresh process: `volume`, `sequence`, `own_text`, `texts`, `cosines`.
        curves: `metrics.jsonl` of the run.
        preview: Contact sheet of the simulated studies; skipped where it is not there.
        stages: What was run.
        settings: Facts for the line below the heading, e.g. `600 studies`.
        machine: Description of the machine and versions.
        checkpoint: Folder of the checkpoint as shown to the user.
    """

    result: Path
    structuring: Path
    ranking: Path
    curves: Path
    preview: Path
    stages: Sequence[StageRecord]
    settings: Sequence[str]
    machine: str
    checkpoint: Path


def write_demo_page(record: DemoRecord, path: Path) -> Path:
    """Write the page; returns its path.

    Raises:
        FileNotFoundError: A result is not there.
        ValueError: A result file is not one.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render("pages/demo_page.html.jinja", page_context(record)), encoding="utf-8")
    os.replace(partial, path)
    return path


def page_context(record: DemoRecord) -> dict[str, Any]:
    """What the template of the page shows."""
    result = read_result(record.result)
    table = result_table(result)
    ranking = json.loads(record.ranking.read_text(encoding="utf-8"))
    pictures = [("Cases of the test split", result.get("files", {}).get("examples"))]
    pictures.append(("Recall by sequence", result.get("files", {}).get("recall")))
    files = [(title, record.result.parent / name) for title, name in pictures if name]
    files.append(("Simulated studies, lesions outlined", record.preview))
    total = sum(stage.seconds for stage in record.stages)
    return {
        "subtitle": ", ".join(record.settings),
        "headline": headline(table, total),
        "results": [table],
        "structuring": structuring_context(read_result(record.structuring)),
        "ranking": ranking_context(ranking),
        "pictures": [{"title": title, "data_uri": data_uri(file)} for title, file in files if file.is_file()],
        "charts": charts(read_curves(record.curves)),
        "stages": [
            {"name": stage.name, "command": stage.command, "time": duration(stage.seconds)} for stage in record.stages
        ],
        "total_time": duration(total),
        "machine": record.machine,
        "usage": USAGE.format(checkpoint=record.checkpoint, sequence=ranking["sequence"], volume=ranking["volume"]),
    }


def headline(table: ResultTable, seconds: float) -> list[dict[str, str]]:
    """The numbers in large type: recall within the sequence, what chance gives, the time."""
    row = next(row for row in table.rows if row.name == "within sequence")
    return [
        {"value": f"{row.recall_5} %", "label": f"recall@5 within the sequence (95 % interval {row.interval})"},
        {"value": f"{row.chance} %", "label": "recall@5 by chance, given the sequence"},
        {"value": f"{row.recall_1} %", "label": "recall@1 within the sequence"},
        {"value": duration(seconds), "label": "for everything on this page"},
    ]


def structuring_context(result: Mapping[str, Any]) -> dict[str, str]:
    """How the findings that were read agree with what is there: F1, precision and recall in percent."""
    scores = {name: f"{100 * result['metrics'][f'finding/{name}']:.1f}" for name in ("f1", "precision", "recall")}
    low, high = (f"{100 * end:.1f}" for end in result["intervals"]["finding/f1"])
    name = f"{result['structurer']['name']} {result['structurer']['version']}"
    return {**scores, "interval": f"{low} to {high}", "structurer": name}


def ranking_context(ranking: Mapping[str, Any]) -> dict[str, Any]:
    """The best texts for the held-out volume, and its own one wherever it came."""
    order = sorted(range(len(ranking["texts"])), key=lambda index: -ranking["cosines"][index])
    rows = [
        {
            "rank": rank,
            "text": ranking["texts"][index],
            "cosine": ranking["cosines"][index],
            "is_own": ranking["texts"][index] == ranking["own_text"],
        }
        for rank, index in enumerate(order, start=1)
    ]
    own = next(row for row in rows if row["is_own"])
    shown = rows[:SHOWN_TEXTS] if own["rank"] <= SHOWN_TEXTS else [*rows[:SHOWN_TEXTS], own]
    return {
        "volume": ranking["volume"],
        "sequence": ranking["sequence"],
        "num_texts": len(rows),
        "rank": own["rank"],
        "rows": shown,
    }


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Curves of a `metrics.jsonl`: (step, value) by name."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        for name, value in values.items():
            if name != "step" and isinstance(value, int | float):
                curves.setdefault(name, []).append((values["step"], value))
    return curves


def charts(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """SVG charts of the curves that the page shows."""
    return [
        line_chart(*zip(*curves[name], strict=True), title=title, x_label="step")
        for name, title in CURVES.items()
        if name in curves
    ]


def data_uri(path: Path) -> str:
    """A PNG file as text that stands in a page."""
    return png_uri(path.read_bytes())


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
