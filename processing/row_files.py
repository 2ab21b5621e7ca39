"""Files of rows: JSON lines, Parquet and CSV in, JSON lines out."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from .atomic_files import replacing

_LONGEST_CELL = 1 << 24
ROW_FILES = (".jsonl", ".parquet", ".csv")


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a file, each with its place ("file, line n") for error messages.

    Args:
        path: JSON objects, one a line (.jsonl), or a table (.parquet, .csv; the cells of the latter are text).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another kind, or a line is not a JSON object.
    """
    if path.suffix not in ROW_FILES:
        raise ValueError(f"expected a file of rows ({', '.join(ROW_FILES)}), got {path}")
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of rows, found none at {path}")
    if path.suffix == ".parquet":
        for number, row in enumerate(_parquet_rows(path), start=1):
            yield f"{path}, row {number}", row
        return
    # Excel marks UTF-8 with a byte order mark; csv wants line ends as they are.
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            yield from _csv_rows(file, path)
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}, line {number}", _object(line, f"{path}, line {number}")


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write JSON lines, atomically."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


def _csv_rows(file: Iterable[str], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(_LONGEST_CELL)
    number = 0
    try:
        for number, cells in enumerate(csv.DictReader(file), start=1):
            if None in cells:
                raise ValueError(f"{path}, row {number} has more cells than columns; quote texts with commas")
            yield f"{path}, row {number}", dict(cells)
    except csv.Error as error:
        raise ValueError(f"{path}, row {number + 1} is not CSV: {error}") from None


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is not JSON: {error.msg}, column {error.colno}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{place}: expected a JSON object, got a {type(row).__name__}")
    return row
