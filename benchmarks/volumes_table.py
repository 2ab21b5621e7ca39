"""How fast are prepared volumes read, compared with decoding and resampling NIfTI files on the fly?

    python benchmarks/volumes_table.py                      # simulates 20 studies
    python benchmarks/volumes_table.py data/bids --size base
    python benchmarks/volumes_table.py data/studies --json volumes_table.json

One process, one thread, files in the page cache. "decode" reads the voxels of a NIfTI file; "decode + resample" is
what training would do without the table (`SelipImageProcessor.process_study`, whole studies); "uncompressed" is the
same uint8 volumes as one memory-mapped array, the fastest form and the largest.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from selip.processing.sources.bids import ingest_bids
from selip.processing.sources.config import IngestConfig
from selip.processing.sources.studies import INFO_NAME, iter_studies
from selip.training.volumes import VolumesTable, prepare_volumes
from selip.training.volumes_config import PrepareConfig


@dataclass(frozen=True)
class Timing:
    """One way of getting volumes."""

    name: str
    volumes_per_s: float
    bytes_per_volume: float


def timed(name: str, calls: Sequence[Callable[[], int]], bytes_per_volume: float, seconds: float) -> Timing:
    """Run calls in turn, each returning how many volumes it gave, until a time has passed; the first is a warm-up."""
    calls[0]()
    volumes, index, start = 0, 0, time.perf_counter()
    while time.perf_counter() - start < seconds or not index:
        volumes += calls[index % len(calls)]()
        index += 1
    return Timing(name, volumes / (time.perf_counter() - start), bytes_per_volume)


def studies_folder(source: Path | None, work: Path, studies: int) -> Path:
    """Return a studies table: the one given, one of the BIDS folder given, or one of simulated studies."""
    if source is not None and (source / INFO_NAME).exists():
        return source
    if source is None:
        from selip.processing.sources.simulated.config import SimulationConfig
        from selip.processing.sources.simulated.writer import simulate_studies  # needs the extra "simulate"

        source = work / "bids"
        simulate_studies(SimulationConfig(source, studies=studies))
    ingest_bids(IngestConfig(source, work / "studies"))
    return work / "studies"


def measure(table_path: Path, work: Path, size: str, seconds: float) -> tuple[list[Timing], float]:
    """Prepare a studies table and time the four ways; also return the studies prepared per second."""
    import nibabel
    import torch

    from selip.processing.image_processing_selip import SelipImageProcessor, SeriesInput

    torch.set_num_threads(1)
    start = time.perf_counter()
    info = prepare_volumes(PrepareConfig(table_path, work / "volumes", size=size, num_proc=1))  # type: ignore[arg-type]
    prepare_rate = info.studies / (time.perf_counter() - start)
    table = VolumesTable(work / "volumes")
    order = np.random.default_rng(0).permutation(len(table)).tolist()
    plain = np.lib.format.open_memmap(
        work / "plain.npy", "w+", dtype=np.uint8, shape=(len(table), *table.read(0).shape)
    )
    for row in range(len(table)):
        plain[row] = table.read(row)

    processor = SelipImageProcessor(**table.processor_config)
    bad = {(item["study_id"], item["series_id"]) for item in info.quarantined}
    studies = []
    for row in iter_studies(table_path):
        kept = [item for item in row["series"] if (row["study_id"], item["series_id"]) not in bad]
        if kept:
            studies.append([SeriesInput(item["volume"]["path"], item["sequence"]) for item in kept])
    paths = [item.volume for study in studies for item in study]
    file_bytes = float(np.mean([Path(path).stat().st_size for path in paths]))

    def decode(path: str) -> int:
        np.asarray(nibabel.load(path).dataobj, dtype=np.float32)
        return 1

    def resample(study: list[SeriesInput]) -> int:
        return len(processor.process_study(study).volumes)

    def read(row: int) -> int:
        table.read(row)
        return 1

    def read_plain(row: int) -> int:
        np.array(plain[row])
        return 1

    shard_bytes = sum(shard["bytes"] for shard in info.shards) / info.n
    timings = [
        timed("NIfTI, decode + resample", [lambda s=s: resample(s) for s in studies], file_bytes, seconds),
        timed("NIfTI, decode", [lambda p=p: decode(p) for p in paths], file_bytes, seconds),
        timed("volumes table (LZ4)", [lambda r=r: read(r) for r in order], shard_bytes, seconds),
        timed("uncompressed", [lambda r=r: read_plain(r) for r in order], float(plain[0].nbytes), seconds),
    ]
    return timings, prepare_rate


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, help="BIDS folder or studies table (default: simulate)")
    parser.add_argument("--studies", type=int, default=20, help="studies to simulate")
    parser.add_argument("--size", choices=("tiny", "base"), default="tiny", help="study box")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each way")
    parser.add_argument("--json", type=Path, help="file for the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selip-bench-") as folder:
        table = studies_folder(options.source, Path(folder), options.studies)
        timings, prepare_rate = measure(table, Path(folder), options.size, options.seconds)
    base = timings[0].volumes_per_s
    print(f"{'':<26}{'volumes/s':>12}{'ratio':>9}{'ms/volume':>11}{'kB/volume':>11}")
    for item in timings:
        ratio, milliseconds = item.volumes_per_s / base, 1e3 / item.volumes_per_s
        print(
            f"{item.name:<26}{item.volumes_per_s:>12.1f}{ratio:>9.1f}{milliseconds:>11.3f}"
            f"{item.bytes_per_volume / 1e3:>11.1f}"
        )
    result = {
        "size": options.size,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "prepare_studies_per_s": prepare_rate,
        "timings": [asdict(item) for item in timings],
    }
    print(json.dumps(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
