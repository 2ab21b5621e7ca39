"""The file of `selip predict`: one row a study and label; Parquet, JSON or CSV, with what the scores came from."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selip.processing.atomic_files import replacing, write_json

from ..parts import METADATA_KEY

FORMAT_VERSION = 1
DISCLAIMER = "not a medical device: for research only, not for diagnosis or any decision about a patient"
_LIST_SEPARATOR = ";"


def predictions_schema() -> pa.Schema:
    """Columns of the file.

    probability: null where `no_probability` says why. series_used: number of series that the score comes from.
    sequences_used, sequences_unusable (there, but not to be read), sequences_lacking (not there, though the checkpoint
    knows it): names. protocol, protocol_sha256: null for a checkpoint with labels of its own.
    """
    names = pa.list_(pa.string())
    return pa.schema(
        [
            ("study_id", pa.string()),
            ("label", pa.string()),
            ("score", pa.float64()),
            ("probability", pa.float64()),
            ("no_probability", pa.string()),
            ("series_used", pa.int64()),
            ("sequences_used", names),
            ("sequences_unusable", names),
            ("sequences_lacking", names),
            ("checkpoint_sha256", pa.string()),
            ("protocol", pa.string()),
            ("protocol_sha256", pa.string()),
        ]
    )


def write_predictions(rows: pa.Table, info: dict[str, Any], out: Path) -> None:
    """Write rows and metadata, atomically, in the form that the ending of `out` says.

    Parquet keeps the metadata under the key `selip` of its schema; JSON is `{"info": ..., "predictions": [...]}`; CSV
    has it in `OUT.info.json` beside it, lists in a cell with semicolons.
    """
    if out.suffix == ".parquet":
        schema = rows.schema.with_metadata({METADATA_KEY: json.dumps(info, ensure_ascii=False).encode()})
        with replacing(out) as partial:
            pq.write_table(rows.replace_schema_metadata(schema.metadata), partial)
    elif out.suffix == ".json":
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, {"info": info, "predictions": rows.to_pylist()})
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out.with_name(f"{out.name}.info.json"), info)
        with replacing(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows.column_names)
            writer.writerows([_cell(value) for value in row.values()] for row in rows.to_pylist())


def _cell(value: Any) -> Any:
    """A value as a cell; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(value, list):
        return _LIST_SEPARATOR.join(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
