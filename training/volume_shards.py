"""Shards of the volumes table: how rows are stored, and a writer that can be killed at any time and goes on.

A shard is an Arrow IPC stream: the schema, record batches, the end mark. One record batch is one *chunk*: the series
of some consecutive studies. Chunks are appended to the open shard (a hidden `.partial` file) and recorded in a journal
after they are on disk; a resumed run cuts the open shard back to the last recorded chunk and appends the next one.
Where chunks and shards end depends on the data alone, so an interrupted table has the bytes of an uninterrupted one.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

CODEC = "lz4_raw"
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # Arrow columnar format, "IPC streaming format"
JOURNAL_NAME = "volumes.journal.jsonl"

SHARD_SCHEMA = pa.schema(
    [
        ("study_id", pa.string()),
        ("series_id", pa.string()),
        ("sequence", pa.string()),
        ("sequence_id", pa.int32()),
        ("split", pa.string()),
        ("data", pa.large_binary()),  # one LZ4 block of the uint8 volume, C order
        ("shape", pa.list_(pa.int32(), 3)),  # x, y, z voxels
        ("affine", pa.list_(pa.float64(), 16)),  # row-major 4x4, box voxel -> scanner RAS mm
        ("patch_counts", pa.binary()),  # uint16, C order: voxels inside the head mask per patch
        ("patch_shape", pa.list_(pa.int32(), 3)),
    ]
)


@dataclass
class Chunk:
    """Rows and quarantined series of some consecutive studies."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    studies: int = 0
    series: int = 0  # read or quarantined
    data_bytes: int = 0

    def add(self, rows: Sequence[dict[str, Any]], quarantined: Sequence[dict[str, str]]) -> None:
        """Add one study."""
        self.rows.extend(rows)
        self.quarantined.extend(quarantined)
        self.studies += 1
        self.series += len(rows) + len(quarantined)
        self.data_bytes += sum(len(row["data"]) for row in rows)


@dataclass
class Progress:
    """How far a table has been written: what the journal says."""

    next_study: int = 0
    series: int = 0
    shard_rows: int = 0
    shard_bytes: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)  # closed ones: file, rows, bytes, sha256
    quarantined: list[dict[str, str]] = field(default_factory=list)


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"volumes-{index:05d}.arrow"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ShardWriter:
    """Appends chunks to shards; made by `start` or `resume`, ended by `finish`.

    Args:
        folder: Folder of the table.
        max_bytes: Size in bytes above which a shard is closed. A chunk is never divided, so a single larger chunk
            makes a larger shard.
        progress: What has been written already.
    """

    def __init__(self, folder: Path, max_bytes: int, progress: Progress) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.progress = progress

    @classmethod
    def start(cls, folder: Path, max_bytes: int, header: Mapping[str, Any]) -> "ShardWriter":
        """Begin a table in a folder; `header` is what a resumed run must have in common with this one."""
        remove_table(folder)
        (folder / JOURNAL_NAME).write_text(json.dumps(header) + "\n", encoding="utf-8")
        return cls(folder, max_bytes, Progress())

    @classmethod
    def resume(cls, folder: Path, max_bytes: int) -> "ShardWriter":
        """Go on with the table whose journal lies in a folder.

        Raises:
            ValueError: A shard is shorter than the journal says, so the disk lost data.
        """
        progress = Progress()
        journal = folder / JOURNAL_NAME
        lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # the last one is torn where the run was killed
        for line in whole[1:]:
            entry = json.loads(line)
            if "closed" in entry:
                progress.shards.append(entry["closed"])
                progress.shard_rows = progress.shard_bytes = 0
            else:
                progress.quarantined.extend(entry.pop("quarantined"))
                progress = Progress(**entry, shards=progress.shards, quarantined=progress.quarantined)
        _truncate(journal, len("".join(whole).encode()))
        writer = cls(folder, max_bytes, progress)
        writer._cut_back()
        return writer

    @property
    def _final(self) -> Path:
        return self.folder / shard_name(len(self.progress.shards))

    @property
    def _partial(self) -> Path:
        return self._final.with_name(f".{self._final.name}.partial")

    def append(self, chunk: Chunk) -> None:
        """Put a chunk on disk and record it; it survives whatever happens next."""
        batch = pa.RecordBatch.from_pylist(chunk.rows, schema=SHARD_SCHEMA).serialize() if chunk.rows else b""
        state = self.progress
        if state.shard_rows and state.shard_bytes + len(batch) + len(_END_OF_STREAM) > self.max_bytes:
            self._close()
        if chunk.rows:
            head = b"" if state.shard_rows else SHARD_SCHEMA.serialize()
            with self._partial.open("ab") as file:
                file.write(head)
                file.write(batch)
                _flush(file)
            state.shard_bytes += len(head) + len(batch)
            state.shard_rows += len(chunk.rows)
        state.next_study += chunk.studies
        state.series += chunk.series
        state.quarantined.extend(chunk.quarantined)
        numbers = {name: getattr(state, name) for name in ("next_study", "series", "shard_rows", "shard_bytes")}
        self._record({**numbers, "quarantined": chunk.quarantined})

    def finish(self) -> Progress:
        """Close the open shard and return what was written. The journal stays until `remove_journal`."""
        if self.progress.shard_rows:
            self._close()
        return self.progress

    def _close(self) -> None:
        """End the open shard and give it its name."""
        with self._partial.open("ab") as file:
            file.write(_END_OF_STREAM)
            _flush(file)
        state, final = self.progress, self._final
        os.replace(self._partial, final)
        size = state.shard_bytes + len(_END_OF_STREAM)
        closed = {"file": final.name, "rows": state.shard_rows, "bytes": size, "sha256": sha256_of(final)}
        self._record({"closed": closed})
        state.shards.append(closed)
        state.shard_rows = state.shard_bytes = 0

    def _record(self, entry: Mapping[str, Any]) -> None:
        with (self.folder / JOURNAL_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            _flush(file)

    def _cut_back(self) -> None:
        """Remove what was written after the last journal entry."""
        state = self.progress
        if self._final.exists():  # named, but killed before the journal said so
            os.replace(self._final, self._partial)
        present = self._partial.stat().st_size if self._partial.exists() else 0
        if present < state.shard_bytes:
            raise ValueError(
                f"expected at least {state.shard_bytes} bytes in {self._partial}, got {present}; "
                "the interrupted table cannot go on: prepare again with overwrite"
            )
        if present:
            _truncate(self._partial, state.shard_bytes)


def _flush(file: Any) -> None:
    """Bring what was written to the disk, so that a journal entry never precedes its data."""
    file.flush()
    os.fsync(file.fileno())


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def remove_table(folder: Path) -> None:
    """Remove shards, open shards, journal and index of a volumes table, and nothing else."""
    for pattern in ("volumes.json", JOURNAL_NAME, "volumes-*.arrow", ".volumes-*.arrow.partial"):
        for path in folder.glob(pattern):
            path.unlink()
