"""Facts of a checkpoint for its card, read from the files beside its weights."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .kinds import read_json

WEIGHTS_NAME = "model.safetensors"
STATE_NAME = "training_state.json"
# What the rows below are made of, or what stands elsewhere on the card.
_TOLD = {
    "batch_studies", "batch_reports", "processes", "series_per_study", "text_items", "negatives_at_most",
    "micro_batch", "micro_batches_per_process", "optimizer", "learning_rate", "learning_rate_vision",
    "learning_rate_text", "learning_rate_head", "weight_decay", "warmup_steps", "decay", "steps", "normal_rate",
    "batch_sequences", "data", "pretraining_data", "max_text_tokens", "unnamed", "language", "text_tower",
    "text_tuning", "parameters", "trainable", "labels", "left_out", "label_share",
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """What the folder of a checkpoint says.

    Attributes:
        model: `config.json`.
        processor: Settings of the image processor.
        state: `training_state.json`, empty where there is none.
        sha256: Of the weights, None where there are none.
        task: `embedding`, `classification` or `segmentation`.
    """

    model: Mapping[str, Any]
    processor: Mapping[str, Any]
    state: Mapping[str, Any]
    sha256: str | None
    task: str

    @property
    def environment(self) -> dict[str, Any]:
        """Where and how it was trained."""
        return dict(self.state.get("environment") or {})

    @property
    def labels(self) -> list[str]:
        """Names of the classes of a head, by number."""
        names = self.model.get("id2label") or {}
        return [names[number] for number in sorted(names, key=int)]


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the facts of a checkpoint.

    Raises:
        FileNotFoundError: It has no model or processor configuration.
    """
    model = read_json(folder / "config.json")
    found = [folder / name for name in ("processor_config.json", "preprocessor_config.json")]
    processor = read_json(next((path for path in found if path.is_file()), found[0]))
    state = folder / STATE_NAME
    names = "".join(model.get("architectures") or []).lower()
    weights = folder / WEIGHTS_NAME
    return Checkpoint(
        model=model,
        # A processor is saved with its image processor nested, an image processor alone is not.
        processor=processor.get("image_processor", processor),
        state=read_json(state) if state.is_file() else {},
        sha256=_sha256(weights) if weights.is_file() else None,
        task=next((task for task in ("classification", "segmentation") if task in names), "embedding"),
    )


def training_rows(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Names and values of how it was trained; what its state does not hold is left out."""
    state, facts = checkpoint.state, checkpoint.environment
    rows: list[tuple[str, str]] = []
    if state.get("step"):
        planned = f" of {facts['steps']}" if facts.get("steps") else ""
        rows.append(("steps of this checkpoint", f"{state['step']}{planned}"))
    if state.get("seconds"):
        rows.append(("time", f"{state['seconds'] / 60:.1f} minutes of training"))
    rows += _batch_rows(facts)
    rows += _optimizer_rows(facts)
    if facts.get("trainable") and facts.get("parameters"):
        rows.append(("weights trained", f"{facts['trainable'] / 1e6:.2f} of {facts['parameters'] / 1e6:.2f} M"))
    if facts.get("label_share", 1) != 1:
        rows.append(("share of the training studies", f"{100 * facts['label_share']:g} %"))
    for key, value in facts.items():
        if key not in _TOLD and value is not None:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((key.replace("_", " "), text))
    return rows


def _batch_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if facts.get("batch_studies"):
        series = f", {facts['series_per_study']} series of each" if facts.get("series_per_study") else ""
        processes = facts.get("processes", 1)
        rows.append(("effective batch", f"{facts['batch_studies']} studies over {processes} process(es){series}"))
    if facts.get("text_items"):
        rows.append(("texts of a study", ", ".join(facts["text_items"])))
    if facts.get("negatives_at_most"):
        rows.append(
            (
                "negatives of a text",
                f"at most {facts['negatives_at_most']}, gathered over all processes; views of its own study are none",
            )
        )
    if facts.get("micro_batches_per_process"):
        count = facts["micro_batches_per_process"]
        way = f"{count} of {facts['micro_batch']} studies a process (GradCache)" if count > 1 else "none"
        rows.append(("micro-batches", way))
    if "normal_rate" in facts:
        rows.append(("normal studies in a batch", f"at most {100 * facts['normal_rate']:g} %"))
    if facts.get("batch_sequences"):
        rows.append(("sequences of a batch", str(facts["batch_sequences"])))
    return rows


def _optimizer_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not facts.get("optimizer"):
        return []
    rates = {"learning_rate_vision": "images", "learning_rate_text": "text", "learning_rate": "pretrained weights"}
    rates["learning_rate_head"] = "head"
    told = ", ".join(f"{facts[key]:g} ({words})" for key, words in rates.items() if facts.get(key) is not None)
    parts = [f"{facts['optimizer']}, peak learning rate {told}"]
    if facts.get("weight_decay") is not None:
        parts.append(f"weight decay {facts['weight_decay']:g}")
    if facts.get("decay"):
        parts.append(f"{facts.get('warmup_steps', 0)} steps of warm-up, then {facts['decay']} decay")
    return [("optimiser", "; ".join(parts))]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
