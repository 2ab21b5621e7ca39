"""The volumes table: every series on the model's grid as LZ4 uint8, prepared once, read from memory-mapped shards.

`prepare_volumes` writes `volumes-*.arrow` and the index `volumes.json`; `VolumesTable` reads them without
torch. `datasets.Dataset.from_file` reads a shard too.
"""

import json
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from selip.processing.atomic_files import write_json
from selip.processing.sources.schema import StudyRow
from selip.processing.sources.splits import SPLITS
from selip.processing.sources.studies import iter_studies, load_studies, studies_fingerprint

from .volume_preparation import image_processor_of, map_studies
from .volume_shards import CODEC, JOURNAL_NAME, Chunk, Progress, ShardWriter, remove_table, sha256_of
from .volumes_config import PrepareConfig

INDEX_NAME = "volumes.json"
FORMAT_VERSION = 1
MAX_SHARD_BYTES = 512_000_000
# A chunk is what a killed run loses at most. Both limits are part of the stored form: other values, other bytes.
CHUNK_STUDIES = 16
CHUNK_BYTES = 32_000_000
# Below this number of series the share of bad ones is judged at the end only.
_MIN_SERIES_TO_JUDGE = 100


@dataclass(frozen=True)
class VolumesInfo:
    """Contents of `volumes.json`; printing it gives the lines for the end of a run."""

    format_version: int
    n: int  # series stored
    studies: int  # studies read
    splits: dict[str, int]  # series per split
    sequences: dict[str, int]  # series per sequence
    shards: list[dict[str, Any]]  # file, rows, bytes, sha256
    quarantined: list[dict[str, str]]  # study_id, series_id, reason
    quarantined_by_reason: dict[str, int]
    processor_config: dict[str, Any]
    studies_fingerprint: str

    def __str__(self) -> str:
        """Return counts, size, and what was quarantined by reason."""
        size = sum(shard["bytes"] for shard in self.shards)
        per_volume = f", {size / self.n / 1e3:.1f} kB each" if self.n else ""
        text = (
            f"{self.n} volumes of {self.studies} studies in {len(self.shards)} shards, {size / 1e6:.1f} MB{per_volume}"
        )
        if self.quarantined:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.quarantined_by_reason.items())
            text += f"\nquarantined {len(self.quarantined)} series: {reasons} (listed in {INDEX_NAME})"
        return text


@dataclass(frozen=True)
class SeriesRow:
    """Where one series of a study is in the table."""

    row: int
    series_id: str
    sequence: str
    sequence_id: int


def _remaining(studies: Any, start: int) -> Iterator[StudyRow]:
    """Yield the studies from number `start` on, in the order train, validation, test, reading no earlier row."""
    for name in SPLITS:
        part = studies[name]
        if start < len(part):
            yield from iter_studies(part.select(range(start, len(part))) if start else part)
        start = max(0, start - len(part))


def _check_bad_share(progress: Progress, config: PrepareConfig, *, is_last: bool) -> None:
    """Stop where too many series are bad: then the source or a setting is wrong, not single files."""
    bad = len(progress.quarantined)
    if not bad or (progress.series < _MIN_SERIES_TO_JUDGE and not is_last):
        return
    if bad > config.max_bad_fraction * progress.series:
        reasons = ", ".join(f"{reason} {count}" for reason, count in _by_reason(progress).items())
        examples = ", ".join(f"{item['study_id']}/{item['series_id']}" for item in progress.quarantined[:3])
        raise ValueError(
            f"{bad} of {progress.series} series cannot be used ({reasons}; for instance {examples}), more than "
            f"max_bad_fraction {config.max_bad_fraction}; repair the source, or raise the limit and run again"
        )


def _by_reason(progress: Progress) -> dict[str, int]:
    counts = Counter(item["reason"] for item in progress.quarantined)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _open_writer(config: PrepareConfig, header: dict[str, Any]) -> ShardWriter:
    """Start a table, or go on with an interrupted one of the same settings."""
    out = Path(config.out)
    if config.overwrite and _journal_header(out) != header:
        remove_table(out)
    if (out / INDEX_NAME).exists() and not config.overwrite:
        raise FileExistsError(f"{out} already has a volumes table; give another folder, or say overwrite")
    out.mkdir(parents=True, exist_ok=True)
    written = _journal_header(out)
    if written is None or (out / INDEX_NAME).exists():
        return ShardWriter.start(out, MAX_SHARD_BYTES, header)
    if written != header:
        differ = ", ".join(key for key in header if written.get(key) != header[key])
        raise ValueError(
            f"{out} holds an unfinished table of other settings (differing: {differ}); finish it with those, "
            "give another folder, or say overwrite"
        )
    return ShardWriter.resume(out, MAX_SHARD_BYTES)


def _journal_header(out: Path) -> dict[str, Any] | None:
    """Return the settings of the unfinished table in a folder; None = there is none to go on with."""
    if not (out / JOURNAL_NAME).exists():
        return None
    with (out / JOURNAL_NAME).open(encoding="utf-8") as file:
        line = file.readline()
    return json.loads(line) if line.endswith("\n") else None


def prepare_volumes(config: PrepareConfig) -> VolumesInfo:
    """Put all series of a studies table on the model's grid and write the volumes table.

    The result does not depend on `num_proc`. A run that was killed goes on where it stopped when it is called again,
    and ends with the same bytes. Series that cannot be used are quarantined with their reason.

    Args:
        config: The studies table, the folder of the volumes table, the size of the study box, and how to run.

    Returns:
        What `volumes.json` holds; printing it says what was written and what was quarantined, by reason.

    Raises:
        FileExistsError: `out` has a finished table and `overwrite` is False.
        ValueError: `out` has an unfinished table of other settings, or too many series cannot be used.
        ChildProcessError: A process was killed from outside.
    """
    studies = load_studies(config.studies)
    header = {
        "format_version": FORMAT_VERSION,
        "processor_config": image_processor_of(config.size).settings(),
        "studies_fingerprint": studies_fingerprint(config.studies),
        "chunk": [CHUNK_STUDIES, CHUNK_BYTES],
    }
    writer = _open_writer(config, header)
    start, total = writer.progress.next_study, sum(len(part) for part in studies.values())
    num_proc = min(config.num_proc or os.cpu_count() or 1, max(1, total - start))
    results = map_studies(_remaining(studies, start), config.size, num_proc)
    chunk = Chunk()
    with tqdm(desc="prepare", total=total, initial=start, unit="study", disable=None) as bar:
        for rows, quarantined in results:
            chunk.add(rows, quarantined)
            bar.update()
            bar.set_postfix(volumes=writer.progress.series + chunk.series, refresh=False)
            if chunk.studies == CHUNK_STUDIES or chunk.data_bytes >= CHUNK_BYTES:
                writer.append(chunk)
                chunk = Chunk()
                _check_bad_share(writer.progress, config, is_last=False)
    if chunk.studies:
        writer.append(chunk)
    _check_bad_share(writer.progress, config, is_last=True)
    progress = writer.finish()
    return _write_index(Path(config.out), progress, header)


def _write_index(out: Path, progress: Progress, header: dict[str, Any]) -> VolumesInfo:
    """Write `volumes.json`, which makes the table complete, and remove the journal."""
    splits: Counter[str] = Counter()
    sequences: Counter[str] = Counter()
    for shard in progress.shards:
        for batch in _read_batches(out / shard["file"]):
            splits.update(batch.column("split").to_pylist())
            sequences.update(batch.column("sequence").to_pylist())
    info = VolumesInfo(
        format_version=FORMAT_VERSION,
        n=sum(shard["rows"] for shard in progress.shards),
        studies=progress.next_study,
        splits={name: splits[name] for name in SPLITS},
        sequences=dict(sorted(sequences.items())),
        shards=progress.shards,
        quarantined=progress.quarantined,
        quarantined_by_reason=_by_reason(progress),
        processor_config=header["processor_config"],
        studies_fingerprint=header["studies_fingerprint"],
    )
    write_json(out / INDEX_NAME, asdict(info))
    (out / JOURNAL_NAME).unlink()
    return info


def _read_batches(path: Path) -> list[pa.RecordBatch]:
    """Return the record batches of a shard as views of the memory-mapped file; no volume is read."""
    return list(pa.ipc.open_stream(pa.memory_map(str(path))))


class VolumesTable:
    """A volumes table on disk; opening it maps the shards and reads ids, no volume.

    Reads are thread-safe. A pickled table opens the same folder again, so it can go to data loader processes.

    Args:
        path: Folder that `prepare_volumes` wrote.

    Raises:
        FileNotFoundError: No finished table at `path`, or a shard is missing.
        ValueError: Another format version, or a shard with another number of rows than the index says.

    Example:
        >>> table = VolumesTable("data/volumes")
        >>> series = table.series_of(table.study_ids("test")[0])
        >>> volume = table.read(series[0].row)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        index = self.path / INDEX_NAME
        if not index.exists():
            state = "an unfinished one" if (self.path / JOURNAL_NAME).exists() else "none"
            raise FileNotFoundError(f"expected a volumes table in {self.path}, got {state}; run `selip prepare`")
        content = json.loads(index.read_text(encoding="utf-8"))
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{index}: expected format_version {FORMAT_VERSION}, got {content.get('format_version')}; "
                "prepare again"
            )
        self.info = VolumesInfo(**content)
        self._batches: list[pa.RecordBatch] = []
        self._starts: list[int] = []
        self._series: dict[str, tuple[int, int]] = {}  # study id -> its rows, which are consecutive
        self._studies_by_split: dict[str, list[str]] = {name: [] for name in SPLITS}
        self._open()

    def __reduce__(self) -> tuple[type["VolumesTable"], tuple[Path]]:
        return VolumesTable, (self.path,)

    def __len__(self) -> int:
        return self.info.n

    @property
    def processor_config(self) -> dict[str, Any]:
        """Settings of the image processor that made the volumes: `SelipImageProcessor(**table.processor_config)`."""
        return self.info.processor_config

    def _open(self) -> None:
        """Map the shards and index the rows by study."""
        row = 0
        for shard in self.info.shards:
            first = row
            for batch in _read_batches(self.path / shard["file"]):
                self._batches.append(batch)
                self._starts.append(row)
                for study_id, split in zip(
                    batch.column("study_id").to_pylist(), batch.column("split").to_pylist(), strict=True
                ):
                    if study_id not in self._series:
                        self._series[study_id] = (row, row)
                        self._studies_by_split[split].append(study_id)
                    row += 1
                    self._series[study_id] = (self._series[study_id][0], row)
            if row - first != shard["rows"]:
                raise ValueError(
                    f"expected {shard['rows']} rows in {self.path / shard['file']}, got {row - first}; prepare again"
                )

    def _locate(self, row: int) -> tuple[pa.RecordBatch, int]:
        """Return the record batch of a row and the row's place in it."""
        if not 0 <= row < self.info.n:
            raise IndexError(f"row: expected 0 to {self.info.n - 1}, got {row}")
        index = bisect_right(self._starts, row) - 1
        return self._batches[index], row - self._starts[index]

    def study_ids(self, split: str | None = None) -> list[str]:
        """Return the ids of the studies with at least one series, of one split or of all, in table order.

        Raises:
            ValueError: `split` is not a split.
        """
        if split is not None and split not in SPLITS:
            raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
        names = SPLITS if split is None else (split,)
        return [study_id for name in names for study_id in self._studies_by_split[name]]

    def series_of(self, study_id: str) -> list[SeriesRow]:
        """Return the series of a study in the order of the studies table, quarantined ones left out.

        Raises:
            KeyError: The study is not in the table (all its series may have been quarantined).
        """
        if study_id not in self._series:
            raise KeyError(f"study {study_id!r} is not in {self.path}; study_ids() lists those that are")
        rows = []
        for row in range(*self._series[study_id]):
            batch, place = self._locate(row)
            name, sequence, number = (
                batch.column(key)[place].as_py() for key in ("series_id", "sequence", "sequence_id")
            )
            rows.append(SeriesRow(row, name, sequence, number))
        return rows

    def read(self, row: int) -> np.ndarray:
        """Return a volume as a new array: uint8 (X, Y, Z), `round(255 v)` of the processor's v in [0, 1]."""
        batch, place = self._locate(row)
        shape = batch.column("shape")[place].as_py()
        volume = np.empty(shape, dtype=np.uint8)
        data = pa.decompress(self.stored(row), volume.size, codec=CODEC)
        volume.ravel()[:] = np.frombuffer(data, dtype=np.uint8)
        return volume

    def stored(self, row: int) -> pa.Buffer:
        """Return the compressed bytes of a volume, a view of the file; equal volumes have equal ones."""
        batch, place = self._locate(row)
        return batch.column("data")[place].as_buffer()

    def affine(self, row: int) -> np.ndarray:
        """Return the float64 (4, 4) affine of a volume: box voxel -> scanner RAS mm."""
        batch, place = self._locate(row)
        return np.array(batch.column("affine")[place].as_py(), dtype=np.float64).reshape(4, 4)

    def patch_counts(self, row: int) -> np.ndarray:
        """Return the uint16 number of head voxels in each patch, (X / px, Y / py, Z / pz)."""
        batch, place = self._locate(row)
        counts = np.frombuffer(batch.column("patch_counts")[place].as_buffer(), dtype=np.uint16)
        return counts.reshape(batch.column("patch_shape")[place].as_py()).copy()

    def head_patches(self, rows: Sequence[int]) -> np.ndarray:
        """Return which patches of these volumes touch the head, bool (len(rows), X / px, Y / py, Z / pz)."""
        return np.stack([self.patch_counts(row) > 0 for row in rows])

    def verify(self) -> None:
        """Compare every shard with its checksum; reads the whole table.

        Raises:
            ValueError: A shard is not what was written; the message names it.
        """
        for shard in self.info.shards:
            found = sha256_of(self.path / shard["file"])
            if found != shard["sha256"]:
                raise ValueError(
                    f"expected sha256 {shard['sha256']} of {self.path / shard['file']}, got {found}; prepare again"
                )
