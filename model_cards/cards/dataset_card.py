"""Cards of data sets: of studies as `selip export-parquet` writes them, and of a benchmark made of them."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, DatasetCardData

from selip.processing.atomic_files import replacing
from selip.processing.sources.data_statement import data_statement
from selip.processing.sources.release import has_words_of_reports
from selip.processing.sources.splits import SPLITS

from ..templates import render
from .config import CardConfig
from .data_facts import data_rows
from .hub_metadata import front_matter, licence_fields
from .kinds import read_json
from .licence import licence_of_card

# In the README of an export that has no card yet.
EXPORT_MARK = "No card yet: `selip card"
EVAL_NAME = "eval.yaml"
PROTOCOLS_FOLDER = "protocols"


@dataclass(frozen=True)
class BenchmarkTask:
    """A task of a benchmark: what is asked, and the number that ranks."""

    asks: str
    headline: str


_AREA = "mean area under the ROC curve (0 to 1, higher is better)"
BENCHMARK_TASKS = {
    "retrieval": BenchmarkTask(
        "which report belongs to a series",
        "recall@5 within the sequence, series to report (0 to 1, higher is better)",
    ),
    "pairs": BenchmarkTask(
        "which of two texts that differ in one thing belongs to a series",
        "share of right choices (0 to 1, higher is better)",
    ),
    "probe": BenchmarkTask("what a linear classifier reads out of frozen embeddings of a study", _AREA),
    "zero_shot": BenchmarkTask("what prompts of a frozen protocol tell of a study", _AREA),
    "localization": BenchmarkTask(
        "whether the map of a lesion's text lies on that lesion",
        "share of maps that point at their lesion (0 to 1, higher is better)",
    ),
    "detection": BenchmarkTask(
        "boxes of lesions by maps or by a segmentation head",
        "average precision at a 3D overlap of 0.1 (0 to 1, higher is better)",
    ),
    "classification": BenchmarkTask("labels of studies by a fine-tuned head", _AREA),
    "segmentation": BenchmarkTask(
        "masks of lesions by a fine-tuned head",
        "mean Dice of the studies with a lesion (0 to 1, higher is better)",
    ),
}


def dataset_text(config: CardConfig) -> str:
    """The card of an export; the `configs` in the head of its README stay as they are.

    Raises:
        FileNotFoundError: It is no export.
        ValueError: The data set is not named, or its README has lost its `configs`.
    """
    return render("cards/dataset_card.md.jinja", {**_dataset_context(config, []), "tasks": {}, "protocols": {}})


def benchmark_text(config: CardConfig) -> str:
    """The card of a benchmark; also writes its `eval.yaml` and copies its protocols.

    Raises:
        FileNotFoundError: It is no export, or a protocol is not there.
        ValueError: No task or an unknown one is named, or zero-shot has no protocol.
    """
    folder = config.folder
    names = list(config.benchmark_tasks) or _written_tasks(folder / EVAL_NAME)
    wrong = [name for name in names if name not in BENCHMARK_TASKS]
    if not names or wrong:
        raise ValueError(
            f"expected --benchmark-tasks of {', '.join(BENCHMARK_TASKS)}, got {', '.join(wrong) or 'none'}"
        )
    protocols = _copied_protocols(config)
    if "zero_shot" in names and not protocols:
        raise ValueError("expected --protocols FILE.yaml for the task zero_shot, got none")
    context = _dataset_context(config, ["benchmark"])
    split = "test" if "test" in context["splits"] else next(iter(context["splits"]))
    content = {
        "name": context["name"].rpartition("/")[2],
        "description": config.training_data or "Head MRI studies with reports: tasks of SeLIP with frozen protocols.",
        "evaluation_framework": "selip",
        "tasks": [{"id": name, "config": "default", "split": split} for name in names],
    }
    with replacing(folder / EVAL_NAME) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False, width=110), encoding="utf-8")
    tasks = {name: BENCHMARK_TASKS[name] for name in names}
    return render("cards/dataset_card.md.jinja", {**context, "tasks": tasks, "protocols": protocols, "split": split})


def _dataset_context(config: CardConfig, tags: list[str]) -> dict[str, Any]:
    """What both templates show."""
    folder = config.folder
    export = read_json(folder / "export.json")
    statement = data_statement(folder, config.findings, splits=SPLITS)
    licence = licence_of_card(config.datasets, [statement])
    written = DatasetCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict()
    if not written.get("configs"):
        raise ValueError(f"expected the head of an export (`configs`) in {folder / 'README.md'}; export it again")
    languages = list(config.languages) or sorted(code for code in statement["languages"] if code)
    tags = ["medical", "radiology", "mri", "brain", "nifti", *tags]
    data = DatasetCardData(
        **licence_fields(licence),
        language=languages or None,
        tags=[*tags, "simulated-data"] if statement["simulated"] else tags,
        pretty_name=config.name or folder.resolve().name,
        size_categories=_size(statement["studies"]),
        configs=written["configs"],
        dataset_info={
            "config_name": "default",
            "splits": [
                {"name": name, "num_bytes": _bytes(folder, name), "num_examples": count}
                for name, count in export["studies"].items()
            ],
            "dataset_size": sum(_bytes(folder, name) for name in export["studies"]),
        },
    )
    return {
        "head": front_matter(data),
        "name": config.name or folder.resolve().name,
        "description": config.training_data,
        "words": has_words_of_reports(folder),
        "splits": export["studies"],
        "statement": data_rows(statement),
        "simulated": statement["simulated"],
        "fingerprint": export["fingerprint"],
        "licence": licence,
    }


def _bytes(folder: Path, split: str) -> int:
    return sum(path.stat().st_size for path in (folder / "data").glob(f"{split}-*.parquet"))


def _size(studies: int) -> str:
    """The size category of the Hub."""
    steps = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))
    return next((name for name, end in steps if studies < end), "1M<n<10M")


def _written_tasks(path: Path) -> list[str]:
    """Ids of the tasks of an `eval.yaml` that is there."""
    if not path.is_file():
        return []
    return [str(task["id"]) for task in yaml.safe_load(path.read_text(encoding="utf-8"))["tasks"]]


def _copied_protocols(config: CardConfig) -> dict[str, str]:
    """SHA-256 of each protocol of the benchmark by its place; those that were given are copied into it."""
    folder = config.folder / PROTOCOLS_FOLDER
    for source in config.protocols:
        if not source.is_file():
            raise FileNotFoundError(f"expected a protocol file, found none at {source}")
        with replacing(folder / source.name) as partial:
            shutil.copyfile(source, partial)
    return {
        f"{PROTOCOLS_FOLDER}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.yaml"))
    }
