"""Structured reports as a column of studies: joined by study id, whether the studies are in memory or stream."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset, Features, IterableDataset, Value

COLUMN = "structured"


def valid_reports(findings: str | Path) -> dict[str, str]:
    """JSON of the valid reports of a findings table, by study id.

    Raises:
        FileNotFoundError: There is no file.
        ValueError: It is no findings table.
    """
    columns = ["study_id", "report", "valid"]
    missing = [name for name in columns if name not in pq.read_schema(findings).names]
    if missing:
        raise ValueError(f"expected the columns of a findings table, {', '.join(missing)} missing in {findings}")
    rows = pq.read_table(findings, columns=columns).to_pylist()
    return {row["study_id"]: row["report"] for row in rows if row["valid"]}


def with_reports(part: Dataset | IterableDataset, reports: Mapping[str, str]) -> Dataset | IterableDataset:
    """Studies with the column `structured`; "" for a study that has no report."""
    if isinstance(part, Dataset):
        found = [reports.get(study, "") for study in part["study_id"]]
        return part.add_column(COLUMN, found, feature=Value("string"))
    features = Features({**part.features, COLUMN: Value("string")})

    def report_of(study: str) -> dict[str, str]:
        return {COLUMN: reports.get(study, "")}

    return part.map(report_of, input_columns=["study_id"], features=features)
