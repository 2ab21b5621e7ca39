"""What a structurer says of reports that are judged: asked now, or read from a file that it made before."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from selip.processing.annotation.gold import row_id, structured_report
from selip.processing.findings import StructuredReport
from selip.processing.row_files import read_rows
from selip.processing.structurer import ReportText

from ..structuring.choice import structurer_named

PREDICTION_FILES = (".parquet", ".jsonl")
_REPORTS_AT_ONCE = 512
_SHORTEST_MEASUREMENT_S = 0.5  # a fast structurer reads the reports again until then


@dataclass(frozen=True)
class Predictions:
    """What a structurer says of each report, in order: findings, or why there are none.

    Attributes:
        reports: One for each report.
        name: Of the structurer.
        version: Of the structurer.
        seconds: Time to read the reports once; None where the findings were made before.
        unused: Number of findings made before of reports that are not asked for.
        fallbacks: Places of the reports that another structurer read in the place of the one that had been asked.
    """

    reports: list[StructuredReport | str]
    name: str
    version: str
    seconds: float | None = None
    unused: int = 0
    fallbacks: frozenset[int] = frozenset()


def predict(structurer: str, texts: Mapping[str, ReportText], *, base: str | None = None) -> Predictions:
    """What a structurer says of reports.

    Args:
        structurer: What `structurer_named` takes, or a file of findings that it made before.
        texts: Reports by id.
        base: As `structurer_named` takes it.

    Raises:
        FileNotFoundError: The file of predictions, the model or its base is not there.
        ValueError: No such structurer, a base for what has none, or the file cannot be read.
    """
    if Path(structurer).suffix in PREDICTION_FILES:
        if base is not None:
            raise ValueError(f"expected base with an adapter alone, {structurer} is a file; leave --base out")
        return _read_predictions(Path(structurer), list(texts))
    reader = structurer_named(structurer, base=base)
    asked = list(texts.values())
    reader(asked[:1])  # what is loaded at the first call is no part of the speed
    start = time.perf_counter()
    reports: list[StructuredReport | str] = []
    for first in tqdm(range(0, len(asked), _REPORTS_AT_ONCE), desc="structure", delay=2):
        reports += reader(asked[first : first + _REPORTS_AT_ONCE])
    passes = 1
    while time.perf_counter() - start < _SHORTEST_MEASUREMENT_S:
        reader(asked)
        passes += 1
    return Predictions(reports, reader.name, reader.version, (time.perf_counter() - start) / passes)


def _read_predictions(path: Path, ids: Sequence[str]) -> Predictions:
    """Findings made before, by id. Each row is valid or not by itself: a broken one costs that report alone."""
    reports: dict[str, StructuredReport | str] = {}
    fallen_back: set[str] = set()
    makers: Counter[tuple[str, str]] = Counter()
    for place, row in read_rows(path):
        name = row_id(row, place)
        if name in reports:
            raise ValueError(f"{place}: expected each report once, got {name} again")
        reports[name] = _valid_report(row, place)
        if row.get("fallback") and isinstance(reports[name], StructuredReport):
            fallen_back.add(name)
        makers[str(row.get("structurer", path.stem)), str(row.get("version", ""))] += 1
    found = [reports.get(name, "no prediction") for name in ids]
    if all(one == "no prediction" for one in found):
        raise ValueError(f"expected findings of the reports that are judged in {path}, but it has none of their ids")
    names, versions = (sorted({maker[place] for maker in makers} - {""}) for place in (0, 1))
    return Predictions(
        found,
        ", ".join(names),
        ", ".join(versions),
        unused=len(reports.keys() - set(ids)),
        fallbacks=frozenset(place for place, name in enumerate(ids) if name in fallen_back),
    )


def _valid_report(row: Mapping[str, Any], place: str) -> StructuredReport | str:
    if row.get("valid") is False:
        return "marked invalid"
    try:
        return structured_report(row, place)
    except ValueError:
        return "does not follow the schema"
