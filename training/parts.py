"""Parts of an output that is written in pieces, so that a run which was interrupted goes on where it stopped."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from tqdm import tqdm

from selip.processing.atomic_files import replacing, write_json

METADATA_KEY = b"selip"
_HEADER_NAME = "header.json"
T = TypeVar("T")

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


def make_parts(
    out: Path,
    info: dict[str, Any],
    studies: Sequence[T],
    make: Callable[[Sequence[T]], tuple[pa.Table | None, Quarantined]],
    *,
    chunk_studies: int,
    name: str,
    overwrite: bool,
) -> list[Path]:
    """Make an output part by part, those of an interrupted run left out.

    Args:
        out: The output.
        info: As for `open_parts`.
        studies: What it is made from, in order.
        make: Rows (None: not one) and what was left out of some studies.
        chunk_studies: Studies of a part.
        name: What the progress bar calls it.
        overwrite: As for `open_parts`.

    Returns:
        The files of the parts, in order; they lie in `parts_folder(out)`.

    Raises:
        ValueError: As `open_parts`.
    """
    folder = parts_folder(out)
    open_parts(folder, info, overwrite=overwrite)
    files: list[Path] = []
    with tqdm(total=len(studies), desc=name, unit="study", disable=None) as bar:
        for start in range(0, len(studies), chunk_studies):
            chunk = studies[start : start + chunk_studies]
            files.append(folder / f"{len(files):06d}.arrow")
            if not files[-1].exists():
                write_part(files[-1], *make(chunk))
            bar.update(len(chunk))
    return files


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
