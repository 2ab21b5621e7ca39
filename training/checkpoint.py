"""Saving a run so that it resumes bit for bit: weights, optimiser, progress. Safetensors and JSON, never pickle.

Model and loader keep no random state (batches are drawn from the step number), so these are all that a run is.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from .text_tuning import merged_weights

OPTIMIZER_FILE = "optimizer.safetensors"
ADAPTERS_FILE = "adapters.safetensors"
STATE_FILE = "training_state.json"


@dataclass(frozen=True)
class TrainingState:
    """How far a run is.

    Attributes:
        step: optimiser steps taken.
        best_metric: best validation metric so far; None before the first validation.
        best_step: step it was reached at.
        seconds: time spent in training steps.
        metrics: the last validation metrics.
        environment: versions, device and precision, for the model card.
    """

    step: int = 0
    best_metric: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    metrics: dict | None = None
    environment: dict | None = None


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    processor: Any,
    state: TrainingState,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Writes a checkpoint that `AutoModel` and `AutoProcessor` load; with an optimiser, also what resuming needs.

    Adapters of the text tower are merged into its weights, so that nobody needs `peft` to load them. Merging rounds,
    so resuming takes what was merged from a file of its own.

    The folder appears whole: it is written under another name first and then takes the place of the old one.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    weights = merged_weights(model)
    model.save_pretrained(partial, state_dict=weights)
    processor.save_pretrained(partial)
    if optimizer is not None:
        unmerged = {name: value for name, value in model.state_dict().items() if name not in weights}
        if unmerged:
            save_file(unmerged, partial / ADAPTERS_FILE)
        save_file(optimizer_tensors(model, optimizer), partial / OPTIMIZER_FILE)
    (partial / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n")
    replace_folder(partial, folder)


def replace_folder(new: Path, old: Path) -> None:
    """Puts `new` in the place of `old`; a crash leaves one of the two whole under `old` or `.old.previous`."""
    previous = old.with_name(f".{old.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if old.exists():
        os.replace(old, previous)
    os.replace(new, old)
    shutil.rmtree(previous, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Undoes a `replace_folder` that was cut between its two renames."""
    previous = folder.with_name(f".{folder.name}.previous")
    if previous.exists() and not folder.exists():
        os.replace(previous, folder)


def read_state(folder: Path) -> TrainingState:
    """Progress of the checkpoint in `folder`."""
    return TrainingState(**json.loads((folder / STATE_FILE).read_text()))


def load_checkpoint(folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Puts weights and optimiser of a checkpoint into `model` and `optimizer`, strictly.

    Raises:
        RuntimeError: a weight is missing, unexpected or of another shape.
    """
    weights = load_file(folder / "model.safetensors")
    if (folder / ADAPTERS_FILE).exists():
        unmerged = load_file(folder / ADAPTERS_FILE)
        merged = {name.replace(".base_layer.", ".") for name in unmerged}
        weights = {name: value for name, value in weights.items() if name not in merged} | unmerged
    model.load_state_dict(weights)
    restore_optimizer(load_file(folder / OPTIMIZER_FILE), model, optimizer)
    return read_state(folder)


def optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state by parameter name, e.g. `logit_scale/exp_avg`."""
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value.detach().contiguous().clone()
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def restore_optimizer(
    tensors: dict[str, torch.Tensor], model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """The inverse of `optimizer_tensors`."""
    for name, parameter in model.named_parameters():
        values = {key.rpartition("/")[2]: value for key, value in tensors.items() if key.rpartition("/")[0] == name}
        if values:
            optimizer.state[parameter] = {
                # Adam counts its steps on the CPU; its moments live with the parameter, in the parameter's layout
                key: value if key == "step" else torch.empty_like(parameter).copy_(value)
                for key, value in values.items()
            }
