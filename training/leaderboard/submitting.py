"""`selip leaderboard submit`: result files of one system as a submission."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selip.processing.atomic_files import replacing_folder

from ..evaluation.case_metrics import Cases
from ..evaluation.result_file import SCORES_SUFFIX, read_cases
from .benchmark import Benchmark, load_benchmark, read_table
from .checking import CheckedSubmission, check_submission
from .config import MAX_RUNS, LeaderboardSubmitConfig
from .references import Reference
from .submission import DESCRIPTION_NAME, FORMAT_VERSION


def make_submission(config: LeaderboardSubmitConfig, records: Sequence[Mapping[str, Any]]) -> CheckedSubmission:
    """Write a submission of result files and check it; what would be refused is not written.

    Args:
        config: The request.
        records: Content of its result files, in their order.

    Raises:
        FileExistsError: The folder is there and `overwrite` is off, or it is something else than a submission.
        FileNotFoundError: A table of cases is not there.
        ValueError: Tasks have different numbers of results, or the submission would be refused.
    """
    benchmark = load_benchmark(config.benchmark)
    paths: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        paths.setdefault(record["task"], []).append(number)
    counts = {task: len(each) for task, each in paths.items()}
    runs = max(counts.values())
    if len(set(counts.values())) != 1 or runs > MAX_RUNS:
        described = ", ".join(f"{count} of {task}" for task, count in counts.items())
        raise ValueError(f"expected as many results of every task, at most {MAX_RUNS}, one a run; got {described}")
    reported: dict[str, dict[str, list[float | None]]] = {}
    self_reported: dict[str, dict[str, float]] = {}
    with replacing_folder(config.out, marker=DESCRIPTION_NAME, overwrite=config.overwrite) as folder:
        for task, numbers in paths.items():
            metrics = [records[number]["metrics"] for number in numbers]
            tables = None
            if task in benchmark.tasks:
                of_task = [_scores(task, config.results[number], records[number], benchmark) for number in numbers]
                tables = None if any(each is None for each in of_task) else [each for each in of_task if each]
            if tables is None:
                self_reported[task] = _means(metrics)
            else:
                reported[task] = {name: [each.get(name) for each in metrics] for name in metrics[0]}
                pq.write_table(_joined(tables), folder / f"{task}.parquet", compression="zstd")
        content = {
            "format_version": FORMAT_VERSION,
            "id": config.out.name,
            "system": config.system,
            "organisation": config.organisation,
            "link": config.link,
            "description": config.description,
            "licence": config.licence,
            "trained_on": config.trained_on,
            "date": config.date,
            "benchmark": benchmark.as_header(),
            "runs": runs,
            "reported": reported,
            "self_reported": self_reported,
        }
        (folder / DESCRIPTION_NAME).write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        checked = check_submission(folder, benchmark, name=config.out.name)
        if not checked.is_taken:
            raise ValueError(f"this would be {checked}")
    return checked


def _scores(task: str, path: Path, record: Mapping[str, Any], benchmark: Benchmark) -> dict[str, Any] | None:
    """Keys and scores of one result; None for a retrieval whose scores were not kept.

    Raises:
        ValueError: The retrieval was of another gallery.
    """
    reference = benchmark.references[task]
    if task != "retrieval":
        return _columns(read_cases(path), reference)
    table = path.with_suffix(SCORES_SUFFIX)
    if not table.is_file():
        return None
    expected = benchmark.info["tasks"][task]["gallery_fingerprint"]
    if record["settings"].get("gallery_fingerprint") != expected:
        raise ValueError(
            f"expected a retrieval of the gallery of {benchmark.name} {benchmark.version}, {path.name} is of another; "
            "evaluate on the studies and pairs that the benchmark was made of"
        )
    return _columns(read_table(table), reference)


def _columns(cases: Cases, reference: Reference) -> dict[str, Any]:
    """The columns of a submission from a table that has more."""
    names = (*reference.key_columns, *(each.name for each in reference.score_columns))
    missing = [name for name in names if name not in cases]
    if missing:
        raise ValueError(
            f"expected the columns {', '.join(names)} in the table of cases, {', '.join(missing)} missing"
        )
    return {name: cases[name] for name in names}


def _joined(tables: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The tables of all runs below one another, with their number."""
    parts = []
    for run, columns in enumerate(tables):
        arrays = {name: _array(values) for name, values in columns.items()}
        count = len(next(iter(arrays.values())))
        parts.append(pa.table({"run": pa.array(np.full(count, run, dtype=np.int8)), **arrays}))
    return pa.concat_tables(parts)


def _array(values: np.ndarray) -> pa.Array:
    is_lists = len(values) > 0 and isinstance(values[0], np.ndarray)
    return pa.array(values.tolist() if values.dtype == object and not is_lists else values, from_pandas=False)


def _means(metrics: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Mean over runs of the metrics that every run has."""
    found = {}
    for name in metrics[0]:
        values = [each.get(name) for each in metrics]
        numbers = [value for value in values if value is not None]
        if len(numbers) == len(values):
            found[name] = float(np.mean(numbers))
    return found
