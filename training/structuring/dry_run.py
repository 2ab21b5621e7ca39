"""What a tuning would take, before it is started: counted on the meta device, estimated in parts, tried in small.

Parameters are counted exactly. Memory is an estimate by formula. The step that is timed is one of a model of the same
widths and vocabulary but fewer layers, with random weights: that the parts fit together is tested, the speed of the
whole is not.
"""

import time
from dataclasses import dataclass, replace

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from selip.processing.compact_findings import compact

from .config import TuneConfig
from .examples import Example, collate
from .loss import answer_loss
from .models import linear_names, prepare_for_tuning, published_id, weight_dtype
from .prompt import INSTRUCTION, report_message
from .pseudo_reports import LabelledReport, iter_pseudo_reports
from .scratch import build_architecture, build_random_model

SAMPLE_REPORTS = 64
ASCII_PER_TOKEN, OTHER_PER_TOKEN = 3.5, 1.4
"""Characters a token of a multilingual model of 2025, roughly: Latin letters and JSON, Chinese characters."""

BITS_NF4 = 4.13
"""Bits a weight in 4 bit with double quantisation (Dettmers et al. 2023, arXiv 2305.14314, section 3)."""

ACTIVATION_BYTES = 34
"""Bytes a token and unit of width that a layer keeps in 16 bit without the attention matrix (Korthikanti et al. 2022,
arXiv 2205.05198, equation 1)."""

GIB = 2**30


@dataclass(frozen=True)
class DryRun:
    """What `selip tune-structurer --dry-run` says.

    Attributes:
        parameters: of the model, adapters not counted.
        trainable: that are trained.
        memory_gib: estimate by part.
        tokens_per_report: mean tokens of prompt and answer, estimated from characters.
        answer_tokens_per_report: those with loss.
        tokens_per_step: tokens of a step.
        layers_tried: layers of the model that made a step.
        seconds_tried: time of that step, on one report.
        tokens_tried: tokens of it.
        device_tried: where it was made.
    """

    parameters: int
    trainable: int
    memory_gib: dict[str, float]
    tokens_per_report: float
    answer_tokens_per_report: float
    tokens_per_step: float
    layers_tried: int
    seconds_tried: float
    tokens_tried: int
    device_tried: str

    def __str__(self) -> str:
        parts = [f"  {name}: {size:.2f} GiB" for name, size in self.memory_gib.items()]
        return "\n".join(
            [
                f"counted: {self.parameters / 1e6:,.1f} M parameters, {self.trainable / 1e6:,.2f} M of them or beside "
                f"them trained ({self.trainable / self.parameters:.2%})",
                f"estimated by formula: {sum(self.memory_gib.values()):.1f} GiB on one GPU",
                *parts,
                f"estimated from characters: {self.tokens_per_report:.0f} tokens a report, "
                f"{self.answer_tokens_per_report:.0f} of them with loss, {self.tokens_per_step:,.0f} a step",
                f"measured: one step on one report of {self.tokens_tried} tokens with {self.layers_tried} layers and "
                f"random weights, {self.seconds_tried:.1f} s on {self.device_tried} (not the speed of the whole)",
            ]
        )


def dry_run(config: TuneConfig) -> DryRun:
    """Count, estimate and try in small; nothing is written, and nothing fetched where an architecture is given.

    Raises:
        ValueError: the base is a path without an id, or an architecture has a field that its type does not have.
    """
    published_id(config.model)
    architecture = _architecture(config)
    with torch.device("meta"):
        whole = build_random_model(architecture)
    parameters = sum(parameter.numel() for parameter in whole.parameters())
    trainable = parameters if config.model.tuning == "full" else _adapter_parameters(whole, config.model.lora_rank)
    instruction = INSTRUCTION if config.data.instruction is None else config.data.instruction
    sample = list(iter_pseudo_reports(SAMPLE_REPORTS, seed=config.optimization.seed, language=config.data.language))
    counts = [_token_counts(report, instruction) for report in sample]
    length = sum(asked + answered for asked, answered in counts) / len(counts)
    seconds, layers, tokens, device = _try_step(architecture, config, counts[0])
    return DryRun(
        parameters=parameters,
        trainable=trainable,
        memory_gib=_memory(config, whole, trainable),
        tokens_per_report=length,
        answer_tokens_per_report=sum(answered for _, answered in counts) / len(counts),
        tokens_per_step=length * config.optimization.batch_reports,
        layers_tried=layers,
        seconds_tried=seconds,
        tokens_tried=tokens,
        device_tried=device,
    )


def _architecture(config: TuneConfig) -> PretrainedConfig:
    """The architecture that is given, else that of the base."""
    model = config.model
    if not model.architecture:
        found: PretrainedConfig = AutoConfig.from_pretrained(model.base)
        return found
    if model.base is None:
        return build_architecture(model.architecture, vocab_size=model.vocabulary_size)
    return build_architecture(model.architecture)


def _adapter_parameters(model: PreTrainedModel, rank: int) -> int:
    """Two matrices of the rank beside each linear layer but the output."""
    names = set(linear_names(model))
    layers = [m for name, m in model.named_modules() if name.rpartition(".")[2] in names]
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def _token_counts(report: LabelledReport, instruction: str) -> tuple[int, int]:
    asked = f"{instruction}\n\n{report_message(report.text)}"
    return _estimated_tokens(asked), _estimated_tokens(compact(report.target.findings))


def _estimated_tokens(text: str) -> int:
    ascii_characters = sum(character.isascii() for character in text)
    return round(ascii_characters / ASCII_PER_TOKEN + (len(text) - ascii_characters) / OTHER_PER_TOKEN)


def _memory(config: TuneConfig, model: PreTrainedModel, trainable: int) -> dict[str, float]:
    """Memory by part in GiB, with micro-batches of the longest reports that are kept."""
    architecture, tuning = model.config, config.model.tuning
    total = sum(parameter.numel() for parameter in model.parameters())
    names = set(linear_names(model))
    linear = sum(module.weight.numel() for name, module in model.named_modules() if name.rpartition(".")[2] in names)
    # on a GPU: bf16 for what is frozen, fp32 for what is trained
    weights = {"lora": 2.0 * total, "full": 4.0 * total, "qlora": 2.0 * (total - linear) + linear * BITS_NF4 / 8}[
        tuning
    ]
    tokens = config.optimization.micro_batch * config.data.max_tokens
    width, layers = architecture.hidden_size, architecture.num_hidden_layers
    kept = tokens * width * ACTIVATION_BYTES
    # with checkpoints: the input of each layer, and one layer in full
    activations = tokens * width * 2 * layers + kept if config.model.gradient_checkpointing else kept * layers
    parts = {
        "weights": weights,
        "adapters in fp32": 0.0 if tuning == "full" else 4.0 * trainable,
        "gradients in fp32": 4.0 * trainable,
        "Adam in fp32": 8.0 * trainable,
        "activations": float(activations),
        # bf16, their copy in fp32 and its gradient; at worst for all tokens, mostly for those of the answers
        "logits": float(tokens * architecture.vocab_size * 10),
    }
    return {name: size / GIB for name, size in parts.items() if size}


def _try_step(
    architecture: PretrainedConfig, config: TuneConfig, counts: tuple[int, int]
) -> tuple[float, int, int, str]:
    """One optimiser step of a model with fewer layers on one report of random tokens.

    Returns:
        Seconds, layers, tokens, device.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layers = min(architecture.num_hidden_layers, 4 if device.type == "cuda" else 1)
    small = architecture.__class__(**{**architecture.to_dict(), "num_hidden_layers": layers, "layer_types": None})
    small.dtype = weight_dtype(config.model, "bf16" if device.type == "cuda" else "fp32")
    if config.model.tuning == "qlora":  # random weights are in no 4 bit form; adapters are the same
        config = replace(config, model=replace(config.model, tuning="lora"))
    torch.manual_seed(config.optimization.seed)
    with device:
        model = prepare_for_tuning(build_random_model(small), config.model)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    draw = torch.randint(0, small.vocab_size, (sum(counts),)).tolist()
    batch = {
        name: value.to(device) for name, value in collate([Example(draw[: counts[0]], draw[counts[0] :])], 0).items()
    }
    start = time.perf_counter()
    answer_loss(model, batch).backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, layers, sum(counts), str(device)
