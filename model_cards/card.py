"""The card of a checkpoint: its `README.md`, written from the files beside it and from result files."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .results import read_result, result_table
from .templates import render

CARD_NAME = "README.md"


@dataclass(frozen=True)
class CardConfig:
    """Options of `selip card`."""

    checkpoint: Path = field(metadata={"help": "folder of a checkpoint"})
    training_data: str = field(metadata={"help": "what it was trained on, in one sentence for the card"})
    results: tuple[Path, ...] = field(default=(), metadata={"help": "result files of `selip evaluate`"})
    name: str | None = field(
        default=None,
        metadata={"help": "name on the Hub, as ORGANISATION/MODEL; the folder's name where none is given"},
    )
    languages: tuple[str, ...] = field(default=("en",), metadata={"help": "languages of the reports"})
    simulated: bool = field(default=False, metadata={"help": "say on the card that the training data is simulated"})
    overwrite: bool = field(default=False, metadata={"help": "replace a README.md that is there"})


def write_card(config: CardConfig) -> Path:
    """Write the card of a checkpoint.

    Returns:
        Path of the card.

    Raises:
        FileNotFoundError: The checkpoint or a result file is not there.
        FileExistsError: There is a card and `overwrite` is False.
        ValueError: A result file is not one.
    """
    path = config.checkpoint / CARD_NAME
    if path.exists() and not config.overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite to write it anew")
    text = render("model_card.md.jinja", card_context(config))
    partial = path.with_name(f".{CARD_NAME}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def card_context(config: CardConfig) -> dict[str, Any]:
    """What the template of the card shows."""
    model = _read_json(config.checkpoint / "config.json")
    processor = _read_json(config.checkpoint / "processor_config.json")
    state_file = config.checkpoint / "training_state.json"
    state = _read_json(state_file) if state_file.is_file() else {}
    records = [read_result(path) for path in config.results]
    return {
        "name": config.name or config.checkpoint.resolve().name,
        "languages": config.languages,
        "simulated": config.simulated or any(record.get("simulated") for record in records),
        "model": model,
        # A processor is saved with its image processor nested, an image processor alone is not.
        "processor": processor.get("image_processor", processor),
        "training": _training_facts(state),
        "training_data": config.training_data,
        "results": [result_table(record) for record in records],
    }


def _training_facts(state: dict[str, Any]) -> dict[str, str]:
    """Readable facts of the training state; what it does not hold is left out."""
    facts = {}
    if state.get("step"):
        facts["step of this checkpoint"] = f"{state['step']}"
    if state.get("seconds"):
        facts["time"] = f"{state['seconds'] / 60:.1f} minutes of training"
    for key, value in (state.get("environment") or {}).items():
        if value is not None:
            facts[key.replace("_", " ")] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return facts


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"expected the folder of a checkpoint, found no {path.name} in {path.parent}")
    return dict(json.loads(path.read_text(encoding="utf-8")))
