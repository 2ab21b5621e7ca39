"""Builds the model and its processor for a pretraining run."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from selip.modeling_selip import SelipConfig, SelipModel, SelipVisionConfig
from selip.processing.image_processing_selip import SelipImageProcessor
from selip.processing.processing_selip import SelipProcessor

from .config import NetworkConfig
from .text_tuning import tune_text_tower
from .tokenizer import train_tokenizer
from .vision_start import VisionStart, read_vision_start, start_vision

logger = logging.getLogger(__name__)

# a text tower for a corpus of short clauses on a laptop; no dropout, so that a replayed step is the same step
_SMALL_TEXT_TOWER = {
    "model_type": "bert",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def build_processor(
    config: NetworkConfig, image_settings: dict, texts: Iterable[str], max_text_tokens: int
) -> SelipProcessor:
    """The processor of a run: image settings of the volumes table, tokenizer of the text tower or of `start_from`.

    Args:
        config: network section of the run.
        image_settings: processor configuration the volumes were prepared with.
        texts: corpus, read only if the tokenizer is trained on it.
        max_text_tokens: length that texts are cut to.
    """
    if config.start_from is not None:
        checkpoint = weights_of(config.start_from).parent
        # with our configuration given, Transformers need not ask whether to run the code beside the weights for it
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, config=SelipConfig.from_pretrained(checkpoint))
    elif config.text_tower is not None:
        tokenizer = AutoTokenizer.from_pretrained(config.text_tower)
    else:
        tokenizer = train_tokenizer(texts, vocabulary_size=config.vocabulary_size, max_tokens=max_text_tokens)
    return SelipProcessor(image_processor=SelipImageProcessor(**image_settings), tokenizer=tokenizer)


def build_model(config: NetworkConfig, processor: SelipProcessor, max_text_tokens: int) -> SelipModel:
    """The model of a run, from scratch but for towers that are named by folder or Hub id, or for `start_from`.

    Raises:
        FileNotFoundError: `start_from` is no checkpoint.
        ValueError: weights of a tower or of `start_from` do not fit the network.
    """
    start = None if config.vision_start is None else read_vision_start(config.vision_start)
    pretrained = None if config.text_tower is None else AutoModel.from_pretrained(config.text_tower)
    if pretrained is not None:
        text_config = pretrained.config.to_dict()
    else:
        text_config = {
            **_SMALL_TEXT_TOWER,
            "vocab_size": len(processor.tokenizer),
            "max_position_embeddings": max_text_tokens,
            "pad_token_id": processor.tokenizer.pad_token_id,
            **config.text,
        }
    model = SelipModel(
        SelipConfig(
            vision_config=_vision_config(config, processor.image_processor, start),
            text_config=AutoConfig.for_model(**text_config),
            projection_dim=config.projection_dim,
            fusion_layers=config.fusion_layers,
        )
    )
    if start is not None:
        logger.info("%s", start_vision(model.vision_model, start))
    if pretrained is not None:
        wanted = model.text_model.state_dict()
        # the only part of a pretrained tower that SelipModel leaves out is its pooler; all else must match
        weights = {name: value for name, value in pretrained.state_dict().items() if not name.startswith("pooler.")}
        if wanted.keys() != weights.keys():
            raise ValueError(
                f"the weights of {config.text_tower} do not match its configuration: {wanted.keys() ^ weights.keys()}"
            )
        model.text_model.load_state_dict(weights)
    if config.start_from is not None:
        load_weights(model, config.start_from)
    tune_text_tower(model, config.text_tuning, config.lora_rank)
    return model


def _vision_config(
    config: NetworkConfig, image_processor: SelipImageProcessor, start: VisionStart | None
) -> SelipVisionConfig:
    """What the study box says, then the size, then the checkpoint that is started from, then the user's fields."""
    fields = {name: getattr(image_processor, name) for name in ("spatial_size", "spacing_mm", "patch_size")}
    fields |= {**({} if start is None else start.fields), **config.vision}
    if config.size is None:
        return SelipVisionConfig(backbone=config.backbone, **fields)
    return SelipVisionConfig.of_size(config.backbone, config.size, **fields)


def load_weights(model: SelipModel, checkpoint: Path) -> None:
    """Puts the weights of a checkpoint into a model of perhaps another configuration, strictly: each must fit.

    Raises:
        FileNotFoundError: no weights in the folder.
        ValueError: a weight is missing, left over or of another shape.
    """
    try:
        model.load_state_dict(load_file(weights_of(checkpoint)))
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {checkpoint} do not fit the configured network; start_from allows only changes that keep "
            f"every weight: {error}"
        ) from error


def weights_of(checkpoint: Path, option: str = "start_from") -> Path:
    """The file of weights in a checkpoint that an option names.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is cut or no safetensors file.
    """
    file = checkpoint / "model.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"expected a folder with weights as {option}, e.g. RUN/best, found no {file}")
    try:
        with safe_open(file, framework="pt"):
            pass
    except SafetensorError as error:
        raise ValueError(f"expected whole weights in {file}, got a cut or broken file; copy it again") from error
    return file


def load_image_processor(checkpoint: Path) -> Any:
    """The image processor of a checkpoint.

    Raises:
        FileNotFoundError: It has none.
    """
    if not any((checkpoint / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")):
        raise FileNotFoundError(
            f"{checkpoint} has no processor; save it beside the model: processor.save_pretrained(...)"
        )
    return SelipImageProcessor.from_pretrained(checkpoint)
