"""Score tables of a submission: read within limits, keys compared with those of the benchmark, scores put in order."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .references import Key, Reference, ScoreColumn, Scores

_PROCESS = Path(__file__).with_name("table_process.py")
_BASE_MEMORY = 2 << 30
_SECONDS = 120
_KEY_BYTES = 512
_NAMED = 3
_WORD = {"study_id": "study", "series_id": "series"}


def max_bytes(reference: Reference, runs: int) -> int:
    """Largest size that an honest table of a task can have: 16 bytes a number, 512 a key."""
    rows = len(reference.keys)
    numbers = sum(rows if each.widths is None else int(each.widths.sum()) for each in reference.score_columns)
    return (1 << 20) + runs * (16 * numbers + _KEY_BYTES * rows * len(reference.key_columns))


def read_scores(path: Path, reference: Reference, runs: int) -> tuple[list[Scores], list[str]]:
    """Scores of every run in the order of the reference's keys.

    Returns:
        One mapping a run, or nothing and every reason why not; reasons hold no text of the file.
    """
    limit = max_bytes(reference, runs)
    if path.stat().st_size > limit:
        return [], [f"expected at most {limit} bytes, got {path.stat().st_size}"]
    with tempfile.TemporaryDirectory(prefix="selip-submission-") as folder:
        table, problems = _read_limited(path, reference, runs, limit, Path(folder))
        if table is None:
            return [], problems
        return _in_order(table, reference, runs)


def _read_limited(
    path: Path, reference: Reference, runs: int, limit: int, folder: Path
) -> tuple[pa.Table | None, list[str]]:
    """The table as a process of its own reads it."""
    widths = [each.widths.sum() for each in reference.score_columns if each.widths is not None]
    request = {
        "path": str(path.resolve()),
        "keys": list(reference.key_columns),
        "numbers": [each.name for each in reference.score_columns if each.widths is None],
        "lists": [each.name for each in reference.score_columns if each.widths is not None],
        "rows": runs * len(reference.keys),
        "list_values": runs * int(max(widths, default=0)),
        "max_bytes": limit,
        "max_key_bytes": _KEY_BYTES,
        "memory": _BASE_MEMORY + 8 * limit,
        "seconds": _SECONDS,
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    command = [sys.executable, "-I", str(_PROCESS), str(folder / "request.json"), str(folder / "table.arrow")]
    # the system's allocator reserves no address space ahead, which the limit would count
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=2 * _SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None, ["takes longer to read than it may"]
    if done.returncode != 0:
        return None, ["unpacks to more than it may, or is no Parquet file"]
    problems = json.loads(done.stdout)
    if problems:
        return None, problems
    with pa.OSFile(str(folder / "table.arrow"), "rb") as source:
        return pa.ipc.open_file(source).read_all(), []


def _in_order(table: pa.Table, reference: Reference, runs: int) -> tuple[list[Scores], list[str]]:
    """Rows of every run in the order of the reference, if they are exactly its cases."""
    row_of = {key: row for row, key in enumerate(reference.keys)}
    columns = [table[name].to_pylist() for name in reference.key_columns]
    numbers = table["run"].to_pylist()
    order = np.full((runs, len(row_of)), -1, dtype=np.int64)
    unknown = repeated = wrong_run = 0
    for place, (run, *parts) in enumerate(zip(numbers, *columns, strict=True)):
        row = row_of.get(tuple(parts))
        if run is None or not 0 <= run < runs:
            wrong_run += 1
        elif row is None:
            unknown += 1
        elif order[run, row] >= 0:
            repeated += 1
        else:
            order[run, row] = place
    problems = _key_problems(reference, order, unknown=unknown, repeated=repeated, wrong_run=wrong_run)
    if problems:
        return [], problems
    found: list[Scores] = []
    for run in range(runs):
        scores: dict[str, Sequence[Any]] = {}
        for column in reference.score_columns:
            taken = table[column.name].take(pa.array(order[run]))
            scores[column.name], reasons = _checked(taken.combine_chunks(), column)
            problems += [f"run {run}, column {column.name}: {reason}" for reason in reasons]
        found.append(scores)
    return ([], problems) if problems else (found, [])


def _key_problems(
    reference: Reference, order: np.ndarray, *, unknown: int, repeated: int, wrong_run: int
) -> list[str]:
    problems = []
    if wrong_run:
        problems.append(f"{wrong_run} rows of a run that is not 0 ... {len(order) - 1}")
    if unknown:
        problems.append(f"{unknown} rows with ids that the benchmark does not have")
    if repeated:
        problems.append(f"{repeated} rows that repeat a case of their run")
    missing = np.argwhere(order < 0)
    if len(missing):
        keys: list[Key] = reference.keys
        named = "; ".join(f"run {run}: {', '.join(filter(None, keys[row]))}" for run, row in missing[:_NAMED])
        problems.append(f"{len(missing)} cases of the benchmark are missing, such as {named}")
    return problems


def _checked(values: pa.Array, column: ScoreColumn) -> tuple[Sequence[Any], list[str]]:
    """One column of one run as numbers, and what is wrong with them."""
    if column.widths is not None:
        rows = [np.asarray(each.values, dtype=np.float32) for each in values]
        if any(len(row) != width for row, width in zip(rows, column.widths, strict=True)):
            return [], ["expected a score of every text of the gallery in every row, in the order of the benchmark"]
        flat = np.concatenate(rows) if rows else np.zeros(0)
        bad = int((~np.isfinite(flat)).sum())
        return rows, [f"expected finite scores, got {bad} that are not"] if bad else []
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    asked = np.ones(len(numbers), dtype=bool) if column.may_lack is None else ~column.may_lack
    wrong = int((~np.isfinite(numbers[asked])).sum())
    if wrong:
        return [], [f"expected finite scores, got {wrong} that are not"]
    outside = int(((numbers[asked] < column.low) | (numbers[asked] > column.high)).sum())
    return numbers, [f"expected scores of {column.low:g} to {column.high:g}, got {outside} outside"] if outside else []
