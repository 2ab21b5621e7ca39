"""The loss of tuning: cross-entropy of the tokens of the answer, and of nothing else."""

import inspect

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from .examples import IGNORED


def answer_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed cross-entropy of the answers of a micro-batch, in float32.

    Logits are computed from the first answer on only, where the model can do that: over a vocabulary of 150,000 those
    of the prompts alone would take gigabytes.

    Args:
        model: causal language model, perhaps wrapped.
        batch: from `examples.collate`.
    """
    labels = batch["labels"]
    first = int((labels != IGNORED).int().argmax(dim=1).min())
    kept = labels.shape[1] - first + 1  # the token before the first of an answer predicts it
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
    if _can_keep(model):
        inputs["logits_to_keep"] = kept
    logits = model(**inputs).logits[:, -kept:-1]
    return cross_entropy(
        logits.flatten(0, 1).float(), labels[:, first:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _can_keep(model: torch.nn.Module) -> bool:
    """Whether the causal model inside the wrappers takes `logits_to_keep`."""
    if isinstance(model, DistributedDataParallel):
        model = model.module
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
