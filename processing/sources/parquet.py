"""Studies table -> Parquet with the NIfTI bytes inside, the form for the Hub.

Plain `datasets.load_dataset(folder)` reads it, also streaming, also after the folder was moved, with no selip
installed: the column types travel in the schema of each shard and the splits in the YAML head of the README.
`Dataset.to_parquet` is not used: it stores local paths instead of bytes (datasets 5.2).
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, StrictUndefined

from selip.processing.atomic_files import write_json

from .config import ExportConfig
from .data_statement import is_simulated
from .schema import StudyRow, study_features
from .splits import SPLITS
from .studies import EXPORT_INFO_NAME, iter_studies, load_studies, studies_fingerprint

# A reader holds a whole row group; 64 MB keeps streaming light, and one study is seldom more.
_ROW_GROUP_BYTES = 64_000_000
_NIFTI2_HEAD = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # sizeof_hdr 540, either byte order


RowChange = Callable[[dict[str, Any]], dict[str, Any]]
"""What is done to a row once its volumes are embedded, e.g. to leave its report out."""


@dataclass(frozen=True)
class ExportInfo:
    """What an export wrote; printing it gives the line for the end of a run."""

    out: str
    studies: dict[str, int]  # per split, empty ones left out
    shards: int
    bytes: int

    def __str__(self) -> str:
        """Return counts and size in one line."""
        splits = ", ".join(f"{name} {count}" for name, count in self.studies.items())
        return f"{sum(self.studies.values())} studies ({splits}) in {self.shards} shards, {self.bytes / 1e6:.1f} MB"


def _embedded(cell: dict[str, Any], study_id: str) -> dict[str, Any]:
    """Return a volume cell with its file's bytes and its bare file name, whose ending tells the format."""
    if cell["bytes"] is not None:
        return cell
    path = Path(cell["path"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileNotFoundError(
            f"study {study_id}: expected a readable file, got {path} ({error.strerror})"
        ) from error
    is_gzip = content[:2] == b"\x1f\x8b"
    head = zlib.decompressobj(wbits=31).decompress(content[:1024], 4) if is_gzip else content[:4]
    if head in _NIFTI2_HEAD:
        raise ValueError(
            f"study {study_id}: {path} is NIfTI-2, which `datasets` cannot read from bytes; convert it to NIfTI-1"
        )
    return {"bytes": content, "path": path.name}


def _embedded_row(row: StudyRow) -> tuple[dict[str, Any], int]:
    """Return a row with embedded volumes and masks, and the number of bytes embedded."""
    series: list[dict[str, Any]] = [
        {**item, "volume": _embedded(item["volume"], row["study_id"])} for item in row["series"]
    ]
    masks: list[dict[str, Any]] = [
        {**item, "volume": _embedded(item["volume"], row["study_id"])} for item in row["masks"]
    ]
    cells: list[dict[str, Any]] = [item["volume"] for item in series] + [item["volume"] for item in masks]
    size = sum(len(cell["bytes"]) for cell in cells)
    return {**row, "series": series, "masks": masks}, size


def _as_it_is(row: dict[str, Any]) -> dict[str, Any]:
    return row


def _row_groups(rows: Iterator[StudyRow], change: RowChange) -> Iterator[tuple[pa.Table, int]]:
    """Yield tables of consecutive rows, each as small as a row group, with the bytes embedded in it."""
    schema = study_features().arrow_schema
    group: list[dict[str, Any]] = []
    group_bytes = 0
    for row in rows:
        embedded, size = _embedded_row(row)
        if group and group_bytes + size > _ROW_GROUP_BYTES:
            yield pa.Table.from_pylist(group, schema=schema), group_bytes
            group, group_bytes = [], 0
        group.append(change(embedded))
        group_bytes += size
    if group:
        yield pa.Table.from_pylist(group, schema=schema), group_bytes


def _write_split(
    rows: Iterator[StudyRow], folder: Path, split: str, shard_bytes: int, change: RowChange = _as_it_is
) -> int:
    """Write the shards of one split, each atomically; return how many there are."""
    groups = _row_groups(rows, change)
    pending = next(groups, None)
    shards = 0
    while pending is not None:
        path = folder / f"{split}-{shards:05d}.parquet"
        partial = path.with_name(f".{path.name}.partial")
        written = 0
        # NIfTI files are mostly gzip already, so the cheapest codec does; it still helps uncompressed ones.
        with pq.ParquetWriter(partial, pending[0].schema, compression="snappy") as writer:
            while pending is not None and (not written or written + pending[1] <= shard_bytes):
                writer.write_table(pending[0], row_group_size=len(pending[0]))
                written += pending[1]
                pending = next(groups, None)
        os.replace(partial, path)
        shards += 1
    return shards


def _readme(studies: dict[str, int], fingerprint: str, other_configs: Mapping[str, Mapping[str, str]]) -> str:
    """Return the README: YAML `configs` that `load_dataset` reads; the card is written by `selip card`."""
    source = files("selip.processing.sources").joinpath("export_readme.md.jinja").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(source).render(
        studies=studies, fingerprint=fingerprint, other_configs=other_configs
    )


def _clear(out: Path) -> None:
    """Remove an earlier export, and nothing else; the file that makes it complete goes first."""
    (out / EXPORT_INFO_NAME).unlink(missing_ok=True)
    (out / "README.md").unlink(missing_ok=True)
    for split in SPLITS:
        for pattern in (f"{split}-*.parquet", f".{split}-*.parquet.partial"):
            for path in (out / "data").glob(pattern):
                path.unlink()


def export_parquet(config: ExportConfig) -> ExportInfo:
    """Write a studies table as Parquet shards with embedded NIfTI bytes and a README with `configs`.

    Memory is bounded by a few row groups of about 64 MB, or of one study where that is larger. A split without
    studies has no shard.

    Args:
        config: The studies table, the new folder, and the size of a shard.

    Returns:
        Counts and size; printing it says them in words.

    Raises:
        FileExistsError: `out` is not empty and `overwrite` is False.
        FileNotFoundError: A volume file is gone.
        ValueError: A volume is NIfTI-2.
    """
    out = Path(config.out).absolute()
    if out.exists() and any(out.iterdir()) and not config.overwrite:
        raise FileExistsError(f"{out} is not empty; give another folder, or say overwrite")
    return write_export(config.studies, out, shard_bytes=config.shard_mb * 1_000_000)


def write_export(
    studies: str | Path,
    out: Path,
    *,
    shard_bytes: int,
    change: RowChange = _as_it_is,
    other_configs: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> ExportInfo:
    """Write the shards, the README and `export.json` of a studies table; an earlier export in `out` is removed.

    Args:
        studies: The studies table.
        out: Folder of the export.
        shard_bytes: Size at which a shard is closed.
        change: Applied to every row after its volumes are embedded.
        other_configs: Further configurations that the README names: files by split, by configuration.

    Raises:
        FileNotFoundError: A volume file is gone.
        ValueError: A volume is NIfTI-2.
    """
    dataset = load_studies(studies)
    fingerprint = studies_fingerprint(studies)
    data = out / "data"
    data.mkdir(parents=True, exist_ok=True)
    _clear(out)
    written: dict[str, int] = {}
    shards = 0
    for split in SPLITS:
        count = _write_split(iter_studies(dataset, split), data, split, shard_bytes, change)
        if count:
            written[split] = len(dataset[split])
            shards += count
    partial = out / ".README.md.partial"
    partial.write_text(_readme(written, fingerprint, other_configs), encoding="utf-8")
    os.replace(partial, out / "README.md")
    about = {"fingerprint": fingerprint, "studies": written, "simulated": is_simulated(Path(studies))}
    write_json(out / EXPORT_INFO_NAME, about)
    size = sum(path.stat().st_size for path in data.glob("*.parquet"))
    return ExportInfo(str(out), written, shards, size)
