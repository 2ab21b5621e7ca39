"""The network of a fine-tuning run: a head on the series tower of a checkpoint, or on the same tower from scratch."""

import logging
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from selip.modeling_selip import (
    SelipConfig,
    SelipForVolumeClassification,
    SelipForVolumeSegmentation,
    SelipHeadModel,
)

from ..network import load_image_processor, weights_of

logger = logging.getLogger(__name__)

HEADS: dict[str, type[SelipHeadModel]] = {
    "classification": SelipForVolumeClassification,
    "segmentation": SelipForVolumeSegmentation,
}


def build_head_model(task: str, checkpoint: Path, **fields: Any) -> SelipHeadModel:
    """A head on the network of a checkpoint, all with random weights.

    Args:
        task: A key of `HEADS`.
        checkpoint: Folder of a pretraining checkpoint; its configuration is read.
        fields: Fields of `SelipConfig` that the head needs, e.g. `id2label`.

    Raises:
        FileNotFoundError: It is no checkpoint.
        ValueError: It is one with a head already.
    """
    weights_of(checkpoint, "model.checkpoint")
    config = SelipConfig.from_pretrained(checkpoint)
    if config.architectures and config.architectures != ["SelipModel"]:
        raise ValueError(
            f"expected a pretraining checkpoint at model.checkpoint, got one of {', '.join(config.architectures)}; "
            "name the checkpoint that it was made from"
        )
    return HEADS[task](SelipConfig.from_pretrained(checkpoint, **fields))


def start_from_checkpoint(model: SelipHeadModel, checkpoint: Path) -> None:
    """Puts the weights of a pretraining checkpoint before the head, and says what is new and what is left behind.

    Raises:
        ValueError: A weight before the head is missing or of another shape, or one is left over that is not known to
            belong to pretraining alone.
    """
    given, own = load_file(weights_of(checkpoint, "model.checkpoint")), model.state_dict()
    head = {name for name in own if name.startswith(f"{model.head_name}.")}
    left = sorted(given.keys() - own.keys())
    patterns = model._keys_to_ignore_on_load_unexpected or []
    wrong = [name for name in left if not any(re.search(pattern, name) for pattern in patterns)]
    missing = sorted(own.keys() - head - given.keys())
    wrong += [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    if missing or wrong:
        raise ValueError(
            f"the weights of {checkpoint} do not fit the network: missing {missing or 'none'}, left over or of "
            f"another shape {wrong or 'none'}"
        )
    model.load_state_dict({**own, **{name: value for name, value in given.items() if name in own}})
    logger.info(
        "%d weights from %s; new: %s (%d weights); not used: %s",
        len(own) - len(head),
        checkpoint,
        model.head_name,
        len(head),
        ", ".join(sorted({_part_of(name) for name in left})) or "none",
    )


def load_head_checkpoint(folder: Path, task: str) -> tuple[SelipHeadModel, Any]:
    """Model in evaluation mode, on a GPU where there is one, and image processor of a fine-tuned checkpoint.

    Raises:
        FileNotFoundError: The folder or one of its parts is missing.
        ValueError: It is a checkpoint of another kind.
    """
    weights_of(folder, "the checkpoint")
    image_processor = load_image_processor(folder)
    config, head = SelipConfig.from_pretrained(folder), HEADS[task]
    if config.architectures != [head.__name__]:
        raise ValueError(
            f"expected a checkpoint of `selip finetune` for {task} in {folder}, got one of "
            f"{', '.join(config.architectures or ['an unknown kind'])}"
        )
    model = head.from_pretrained(folder, config=config).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), image_processor


def _part_of(name: str) -> str:
    """The part of the model that a weight belongs to, e.g. `text_model`, `vision_model.pooling`."""
    return ".".join(name.split(".")[: 2 if name.startswith("vision_model.") else 1])
