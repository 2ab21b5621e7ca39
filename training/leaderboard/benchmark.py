"""A benchmark as a dataset repository: frozen protocols, splits and references, each file with its fingerprint.

    README.md                       a card with the configurations that `load_dataset` reads
    eval.yaml                       tasks, as the Hub reads them
    benchmark.json                  name, version, tasks, SHA-256 of every frozen file, and one over all of these
    splits.json                     study ids of every split, each with its patient under another name
    protocols/*.yaml                what a zero-shot task asks
    reference/retrieval.images.parquet, retrieval.texts.parquet, pairs.parquet, probe.parquet, zero_shot.parquet

A benchmark is never changed: another file is another fingerprint, and a submission names the one it was made for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..evaluation.case_metrics import Cases
from .references import Reference, retrieval_reference, table_reference

FORMAT_VERSION = 1
INFO_NAME, EVAL_NAME, SPLITS_NAME, CARD_NAME = "benchmark.json", "eval.yaml", "splits.json", "README.md"
# In the order of tabs.
TASKS = ("retrieval", "pairs", "probe", "zero_shot")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that was read and whose files are those that were frozen.

    Attributes:
        folder: Where it is.
        info: Content of `benchmark.json`.
    """

    folder: Path
    info: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.info["name"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.info["version"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all frozen files."""
        return str(self.info["fingerprint"])

    @property
    def tasks(self) -> tuple[str, ...]:
        """Its tasks, in the order of tabs."""
        return tuple(name for name in TASKS if name in self.info["tasks"])

    @cached_property
    def references(self) -> dict[str, Reference]:
        """The cases of every task."""
        found: dict[str, Reference] = {}
        for task in self.tasks:
            if task == "retrieval":
                images, texts = (read_table(self.folder / reference_path(task, part)) for part in ("images", "texts"))
                found[task] = retrieval_reference(images, texts)
            else:
                found[task] = table_reference(task, read_table(self.folder / reference_path(task)))
        return found

    def as_header(self) -> dict[str, Any]:
        """What a submission and a leaderboard say of it."""
        return {"name": self.name, "version": self.version, "fingerprint": self.fingerprint}


def reference_path(task: str, part: str = "") -> str:
    """Path of a reference table inside the repository."""
    return f"reference/{task}.{part}.parquet" if part else f"reference/{task}.parquet"


def read_table(path: Path) -> Cases:
    """Columns of a Parquet file of the benchmark."""
    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of_all(files: Mapping[str, str]) -> str:
    """One SHA-256 over paths and fingerprints of files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def load_benchmark(folder: Path) -> Benchmark:
    """Read a benchmark and check every frozen file.

    Raises:
        FileNotFoundError: There is none, or a file of it is missing.
        ValueError: A file is not the one that was frozen, or the format is of another version.
    """
    path = folder / INFO_NAME
    if not path.is_file():
        raise FileNotFoundError(f"expected a benchmark (a folder with {INFO_NAME}) at {folder}, found none")
    info = json.loads(path.read_text(encoding="utf-8"))
    if info.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"expected a benchmark of format {FORMAT_VERSION}, {path} has {info.get('format_version')!r}; use the "
            "version of selip that it was made with"
        )
    for name, expected in info["files"].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"expected {name} in the benchmark {folder}, found none")
        if file_fingerprint(folder / name) != expected:
            raise ValueError(f"{name} in {folder} is not the file that was frozen; fetch the benchmark again")
    if fingerprint_of_all(info["files"]) != info["fingerprint"]:
        raise ValueError(f"the fingerprint in {path} is not that of its files; fetch the benchmark again")
    return Benchmark(folder, info)
