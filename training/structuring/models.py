"""The model that is tuned: loaded or made, with the weights that are trained set apart."""

import importlib.util
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .config import UNPUBLISHED, TunedModel
from .scratch import build_architecture, build_random_model


def published_id(config: TunedModel) -> str:
    """The name of the base that is written into adapters and cards: a Hub id, never a path of this machine.

    Raises:
        ValueError: the base is a folder and nobody has said which model of the Hub it is, or that it is none.
    """
    if config.base is None:
        return UNPUBLISHED
    named = config.base_model_id or config.base
    looks_like_path = Path(named).expanduser().exists() or named.startswith(("/", ".", "~")) or named.count("/") > 1
    if named != UNPUBLISHED and looks_like_path:
        raise ValueError(
            f"expected the Hub id of the base, got the path {named}; give it as model.base_model_id "
            f"(ORGANISATION/MODEL), or {UNPUBLISHED!r} if it is on no Hub"
        )
    return named


def load_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, padding on the left as generation needs it."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def weight_dtype(config: TunedModel, precision: str) -> torch.dtype:
    """bf16 for a frozen base in bf16; weights that are trained are kept in fp32 and computed with in bf16."""
    return torch.bfloat16 if precision == "bf16" and config.tuning != "full" else torch.float32


def load_model(config: TunedModel, precision: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel | PeftModel:
    """The model to tune, from its base or from scratch, its trained weights requiring gradients.

    Adapters and weights from scratch are drawn from torch's generator. See `check_quantization` for qlora.
    """
    if config.base is None:
        return prepare_for_tuning(build_random_model(scratch_architecture(config, tokenizer)), config)
    quantization = None
    if config.tuning == "qlora":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    model = AutoModelForCausalLM.from_pretrained(
        config.base, dtype=weight_dtype(config, precision), quantization_config=quantization
    )
    return prepare_for_tuning(model, config)


def scratch_architecture(config: TunedModel, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The configuration of a model from scratch, with the numbers that its tokenizer decides."""
    return build_architecture(
        config.architecture,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )


def prepare_for_tuning(model: PreTrainedModel, config: TunedModel) -> PreTrainedModel | PeftModel:
    """Adapters on a frozen base, or all weights, and gradient checkpointing if it is asked for."""
    with warnings.catch_warnings():
        # transformers 5.23 renames gradient_checkpointing; the floor of this package, and peft, know the old name only
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        return _prepare(model, config)


def _prepare(model: PreTrainedModel, config: TunedModel) -> PreTrainedModel | PeftModel:
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.tuning == "full":
        return model
    if config.tuning == "qlora":
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=config.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    tuned = get_peft_model(
        model,
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha or 2 * config.lora_rank,
            lora_dropout=config.lora_dropout,
            target_modules=linear_names(model),
            task_type="CAUSAL_LM",
        ),
    )
    # peft takes it from where the base was loaded, which may be a folder of this machine
    tuned.peft_config["default"].base_model_name_or_path = published_id(config)
    return tuned


def linear_names(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers but for the output layer, e.g. `q_proj`: what peft calls all-linear, by suffix.

    Suffixes fit the same model under another prefix; the full names that peft would write do not.
    """
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    return sorted(names)


def check_quantization() -> None:
    """Whether a base can be loaded in 4 bit here.

    Raises:
        ValueError: there is no CUDA device.
        ModuleNotFoundError: bitsandbytes is not installed.
    """
    if not torch.cuda.is_available():
        raise ValueError("expected a CUDA device for tuning qlora, found none; use --model.tuning lora")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModuleNotFoundError("tuning qlora needs bitsandbytes: pip install 'bitsandbytes>=0.46'")


def merge_adapter(config: TunedModel, adapter: Path, precision: str) -> PreTrainedModel:
    """The base with a saved adapter in its weights; a base in 4 bit is loaded in 16 for it."""
    base = AutoModelForCausalLM.from_pretrained(config.base, dtype=weight_dtype(config, precision))
    merged: PreTrainedModel = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    return merged
