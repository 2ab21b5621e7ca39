"""The file of embeddings: one row a series, one a study, and in its metadata what they came from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

FORMAT_VERSION = 1
METADATA_KEY = b"selip"


def embeddings_schema(width: int) -> pa.Schema:
    """Columns of the file.

    level: series or study. patient_id: null where unknown. series_id, sequence: null in the row of a study.
    embedding: float32, unit length; of a study the mean of its series, scaled to unit length.
    """
    return pa.schema(
        [
            ("level", pa.string()),
            ("study_id", pa.string()),
            ("patient_id", pa.string()),
            ("series_id", pa.string()),
            ("sequence", pa.string()),
            ("embedding", pa.list_(pa.float32(), width)),
        ]
    )


def study_embedding(series: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The embedding (E,) of a study from those of its series (S, E): their mean, scaled to unit length.

    Not what the fusion of the model makes of all series at once: the mean lies among the series embeddings, which
    texts were trained to meet, and follows from the rows of the file alone.
    """
    mean = series.astype(np.float64).mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def rows_table(rows: Sequence[Mapping[str, Any]], vectors: npt.NDArray[np.float32]) -> pa.Table:
    """Rows (without `embedding`) and their vectors (n, E) as a table of the file's columns."""
    schema = embeddings_schema(vectors.shape[1])
    columns: list[Any] = [pa.array([row[name] for row in rows], pa.string()) for name in schema.names[:-1]]
    values = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    columns.append(pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]))
    return pa.table(columns, schema=schema)


def vectors_of(table: pa.Table) -> npt.NDArray[np.float32]:
    """The column `embedding` of a table as (n, E)."""
    width = table.schema.field("embedding").type.list_size
    parts = [chunk.flatten().to_numpy().reshape(-1, width) for chunk in table["embedding"].chunks]
    return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)


@dataclass(frozen=True)
class Embeddings:
    """A file of embeddings.

    Attributes:
        info: Its metadata: `checkpoint`, `processor`, `settings`, `source`, `n`, `quarantined`, `simulated`.
        rows: All columns but `embedding`.
        vectors: (n, E) float32.
    """

    info: dict[str, Any]
    rows: pa.Table
    vectors: npt.NDArray[np.float32]


def read_embeddings(path: str | Path) -> Embeddings:
    """Read a file of embeddings.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file of embeddings, or of another format version.

    Example:
        >>> embeddings = read_embeddings("embeddings.parquet")
        >>> embeddings.vectors.shape, embeddings.info["checkpoint"]["sha256"]
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected embeddings, found none at {path}; make them with `selip embed`")
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"expected embeddings in {path}, but it is no readable Parquet file; embed again") from error
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None or "embedding" not in table.column_names:
        raise ValueError(f"expected embeddings of `selip embed` in {path}, got another table")
    info = json.loads(metadata)
    if info.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected format_version {FORMAT_VERSION}, got {info.get('format_version')}; embed again"
        )
    return Embeddings(info, table.drop_columns(["embedding"]).replace_schema_metadata(), vectors_of(table))
