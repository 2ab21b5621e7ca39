"""`selip card`: the README.md of a folder that goes to the Hub, written from the files in it and from result files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from selip.processing.atomic_files import replacing
from selip.processing.sources.data_statement import data_statement

from ..templates import render
from .checkpoint_facts import Checkpoint, read_checkpoint, training_rows
from .config import CardConfig
from .data_facts import data_rows
from .dataset_card import EXPORT_MARK, benchmark_text, dataset_text
from .figures import copy_figures
from .hub_metadata import front_matter, licence_fields, model_index, write_eval_results
from .input_facts import input_rows
from .kinds import recognise
from .licence import licence_of_card
from .results import CardResult, card_tables, check_subject, read_card_result
from .structurer_card import structurer_text

CARD_NAME = "README.md"
_PIPELINES = {
    "embedding": "zero-shot-image-classification",
    "classification": "image-classification",
    "segmentation": "image-segmentation",
}


def write_card(config: CardConfig) -> Path:
    """Write the card of a folder.

    Returns:
        Path of the card.

    Raises:
        FileNotFoundError: The folder or a result file is not there.
        FileExistsError: There is a card and `overwrite` is False.
        ValueError: The licence of the data is not known, or a result file is not one or is of something else.
    """
    kind = recognise(config.folder) if config.kind == "auto" else config.kind
    path = config.folder / CARD_NAME
    if path.exists() and not config.overwrite and EXPORT_MARK not in path.read_text(encoding="utf-8"):
        raise FileExistsError(f"{path} exists; pass --overwrite to write it anew")
    writers: dict[str, Callable[[CardConfig], str]] = {
        "model": checkpoint_text,
        "head": checkpoint_text,
        "structurer": structurer_text,
        "dataset": dataset_text,
        "benchmark": benchmark_text,
    }
    text = writers[kind](config)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def checkpoint_text(config: CardConfig) -> str:
    """The card of a checkpoint, with or without a head; also writes its plots and entries of a benchmark."""
    checkpoint = read_checkpoint(config.folder)
    results = [read_card_result(path) for path in config.results]
    for result in results:
        check_subject(result, weights=checkpoint.sha256)
    statements = _statements(config, checkpoint)
    licence = licence_of_card(config.datasets, list(statements.values()))
    figures, left_out = _figures(config, results, gated=licence.gated)
    if config.benchmark_dataset is not None:
        tasks = dict(item.split("=", 1) for item in config.benchmark_tasks)
        write_eval_results(config.folder, results, config.benchmark_dataset, tasks)
    name = config.name or config.folder.resolve().name
    is_simulated = any(statement["simulated"] for statement in statements.values())
    languages = list(config.languages) or sorted(
        {code for statement in statements.values() for code in statement["languages"] if code}
    )
    data = ModelCardData(
        **licence_fields(licence),
        language=languages or None,
        library_name="transformers",
        pipeline_tag=_PIPELINES[checkpoint.task],
        tags=_tags(checkpoint, is_simulated=is_simulated),
        **model_index(name, results, config.benchmark_dataset),
    )
    return render(
        "cards/model_card.md.jinja",
        {
            "head": front_matter(data),
            "name": name,
            "checkpoint": checkpoint,
            "input": input_rows(checkpoint),
            "simulated": is_simulated,
            "training": training_rows(checkpoint),
            "training_data": config.training_data,
            "statements": {title: data_rows(statement) for title, statement in statements.items()},
            "tables": [table for result in results for table in card_tables(result)],
            "figures": figures,
            "figures_left_out": left_out,
            "benchmark": config.benchmark_dataset,
            "licence": licence,
        },
    )


def _statements(config: CardConfig, checkpoint: Checkpoint) -> dict[str, Mapping[str, Any]]:
    """What it was trained on, in counts, by a title: as its run wrote, else as tables say; scanners as these say."""
    if config.findings is not None and config.studies is None:
        raise ValueError("expected --studies with --findings, got findings alone")
    facts = checkpoint.environment
    found: dict[str, Mapping[str, Any]] = {}
    if facts.get("pretraining_data"):
        found["Pretraining"] = facts["pretraining_data"]
    own = facts.get("data")
    if config.studies is not None:
        counted = data_statement(config.studies, config.findings, scanners=True)
        if own is None:
            found["Training split, counted from its tables (a run may have used a part)"] = counted
        elif own["fingerprint"] != counted["fingerprint"]:
            raise ValueError(f"expected the studies table of the run, {config.studies} is another one")
        else:
            own = {**own, **{name: counted[name] for name in ("makers", "field_strengths_t")}}
    if own:
        found["Training"] = own
    return found


def _figures(config: CardConfig, results: Sequence[CardResult], *, gated: bool) -> tuple[list[tuple[str, str]], bool]:
    """Caption and link of each plot, and whether plots were left out because nothing of the data may be shown."""
    if not config.figures:
        return [], False
    if gated:
        return [], any(
            str(name).endswith(".png") for each in results for name in each.record.get("files", {}).values()
        )
    return copy_figures(results, config.folder), False


def _tags(checkpoint: Checkpoint, *, is_simulated: bool) -> list[str]:
    tags = ["medical", "radiology", "mri", "brain", "3d", "selip", "custom_code"]
    tags += ["contrastive-learning"] if checkpoint.task == "embedding" else []
    return [*tags, "simulated-data"] if is_simulated else tags
