"""The findings table: one row a study, its structured report and where that came from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .atomic_files import replacing
from .findings import StructuredReport, read_report

_SCHEMA = pa.schema(
    [
        ("study_id", pa.string()),
        ("report", pa.string()),
        ("structurer", pa.string()),
        ("version", pa.string()),
        ("valid", pa.bool_()),
        ("fallback", pa.string()),
    ]
)


def write_findings(rows: Iterable[dict[str, Any]], out_file: Path) -> None:
    """Write a findings table (Parquet), atomically.

    Columns: study_id; report, JSON of a `StructuredReport`, "" where there is none; structurer and version, what read
    it; valid; fallback, why it was not what had been asked, or why there is no report.
    """
    with replacing(out_file) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=_SCHEMA), partial)


def load_findings(path: str | Path) -> dict[str, StructuredReport]:
    """Read a findings table: study id to report, valid rows only.

    Raises:
        ValueError: a column is missing, a study id occurs twice, or a report does not follow the schema (names the
        study).
    """
    table = pq.read_table(path)
    missing = [name for name in ("study_id", "report", "valid") if name not in table.column_names]
    if missing:
        raise ValueError(f"expected the columns of a findings table, {', '.join(missing)} missing in {path}")
    reports: dict[str, StructuredReport] = {}
    for row in table.select(["study_id", "report", "valid"]).to_pylist():
        if row["study_id"] in reports:
            raise ValueError(f"expected each study once, got {row['study_id']} twice in {path}")
        if row["valid"]:
            try:
                reports[row["study_id"]] = read_report(row["report"])
            except ValueError as error:
                raise ValueError(
                    f"report of study {row['study_id']} in {path} does not follow the schema: {error}"
                ) from None
    return reports
