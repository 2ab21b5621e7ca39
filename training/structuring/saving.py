"""The folder of a tuned structurer: weights, tokenizer, how it is asked and was tuned. Safetensors and JSON only."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from ..checkpoint import (
    OPTIMIZER_FILE,
    STATE_FILE,
    TrainingState,
    optimizer_tensors,
    read_state,
    replace_folder,
    restore_optimizer,
)
from .prompt import ReportPrompt

STRUCTURER_FILE = "structurer.json"
TRAINED_FILE = "trained.safetensors"


@dataclass(frozen=True)
class StructurerFile:
    """What inference must know of a tuned structurer beside its weights and tokenizer.

    Attributes:
        instruction: what the model was told before each report.
        max_new_tokens: tokens of an answer at most.
        version: fingerprint of the trained weights; findings of different versions are not mixed unseen.
    """

    instruction: str
    max_new_tokens: int
    version: str


def save_structurer(
    folder: Path,
    model: PreTrainedModel | PeftModel,
    prompt: ReportPrompt,
    state: TrainingState,
    *,
    base_model: str,
    max_new_tokens: int,
) -> None:
    """Write a tuned structurer; the folder appears whole.

    Args:
        base_model: Hub id of the base, or `unpublished`; the only name of it that the folder holds.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if isinstance(model, PeftModel):
        model.peft_config["default"].base_model_name_or_path = base_model
        model.save_pretrained(str(partial), save_embedding_layers=False)
    else:
        model.save_pretrained(partial)
    prompt.tokenizer.save_pretrained(partial)
    about = StructurerFile(prompt.instruction, max_new_tokens, fingerprint(model))
    _write_json(partial / STRUCTURER_FILE, asdict(about))
    _write_json(partial / STATE_FILE, asdict(state))
    replace_folder(partial, folder)


def read_structurer_file(folder: Path) -> StructurerFile | None:
    """How a structurer is asked, None where the folder does not say (a model that was not tuned here)."""
    path = folder / STRUCTURER_FILE
    return StructurerFile(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def save_progress(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState
) -> None:
    """Write what a run resumes from: trained weights, optimiser, how far it is; the folder appears whole."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(trained_weights(model), partial / TRAINED_FILE)
    save_file(optimizer_tensors(model, optimizer), partial / OPTIMIZER_FILE)
    _write_json(partial / STATE_FILE, asdict(state))
    replace_folder(partial, folder)


def load_progress(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Put trained weights and optimiser back, strictly.

    Raises:
        ValueError: the folder holds other weights than the model trains.
    """
    saved = load_file(folder / TRAINED_FILE)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if {name: value.shape for name, value in saved.items()} != {name: value.shape for name, value in trained.items()}:
        raise ValueError(f"expected the {len(trained)} trained weights of this configuration in {folder}, got others")
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(saved[name])
    restore_optimizer(load_file(folder / OPTIMIZER_FILE), model, optimizer)
    return read_state(folder)


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that are trained, by name; those that two layers share once."""
    return {
        name: value.detach().contiguous().clone() for name, value in model.named_parameters() if value.requires_grad
    }


def fingerprint(model: torch.nn.Module) -> str:
    """Twelve digits that differ where a trained weight does."""
    digest = hashlib.sha256()
    for name, value in sorted(trained_weights(model).items()):
        digest.update(name.encode())
        digest.update(value.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
