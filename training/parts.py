"""Parts of an output that is written in pieces, so that a run which was interrupted goes on where it stopped."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from selip.processing.atomic_files import replacing
from selip.processing.sources.studies import write_json

METADATA_KEY = b"selip"
_HEADER_NAME = "header.json"

Quarantined = list[dict[str, str]]


def parts_folder(out: Path) -> Path:
    """Where the parts of an output lie until all are there."""
    return out.with_name(f".{out.name}.parts")


def open_parts(folder: Path, info: dict[str, Any], *, overwrite: bool) -> None:
    """Make the folder of parts, or take that of an interrupted run of the same settings.

    Args:
        folder: Of `parts_folder`.
        info: Settings, as JSON.
        overwrite: Throw parts of other settings away.

    Raises:
        ValueError: There are parts of other settings and `overwrite` is False.
    """
    header = folder / _HEADER_NAME
    if header.is_file():
        written = json.loads(header.read_text(encoding="utf-8"))
        if written == info:
            return
        if not overwrite:
            differing = ", ".join(key for key in info if written.get(key) != info[key])
            raise ValueError(
                f"expected the unfinished output in {folder} to be of these settings, but they differ in "
                f"{differing}; finish it with its own, choose another output, or say --overwrite"
            )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(header, info)


def write_part(path: Path, table: pa.Table | None, quarantined: Quarantined) -> None:
    """Write the rows of a part (None: not one) and what was left out, atomically."""
    table = pa.table({}) if table is None else table
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(quarantined).encode()})
    with replacing(path) as out, pa.ipc.new_file(str(out), table.schema) as file:
        file.write_table(table)


def read_part(path: Path) -> tuple[pa.Table, Quarantined]:
    """Rows of a part and what was left out."""
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    return table, json.loads(table.schema.metadata[METADATA_KEY])
