"""Optimiser, schedule and precision of training."""

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from selip.modeling_selip.modeling_selip import SelipModel

from .config import OptimizationConfig


def build_optimizer(model: SelipModel, config: OptimizationConfig) -> torch.optim.AdamW:
    """AdamW with a learning rate for each tower, and decay on matrices and kernels only.

    The text tower is `text_model` and `text_projection`; everything else learns at the rate of the vision tower.
    """
    model.logit_scale.requires_grad_(config.learn_logit_scale)
    groups = parameter_groups(
        model,
        lambda name: (
            config.learning_rate_text
            if name.startswith(("text_model.", "text_projection."))
            else config.learning_rate_vision
        ),
        config.weight_decay,
    )
    return torch.optim.AdamW(groups, eps=config.adam_epsilon)


def parameter_groups(model: nn.Module, peak_of: Callable[[str], float], weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters of a model by peak learning rate and decay, in an order that depends on neither.

    Args:
        model: Its parameters that need no gradient are left out.
        peak_of: Peak learning rate of a parameter by its name.
        weight_decay: Of matrices and kernels; other parameters have none.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            peak, is_matrix = peak_of(name), parameter.ndim > 1
            decay = weight_decay if is_matrix else 0.0
            group = {"params": [], "peak": peak, "weight_decay": decay}
            groups.setdefault((f"{peak!r}", is_matrix), group)["params"].append(parameter)
    return list(groups.values())


class Schedule(Protocol):
    """How the learning rate goes over the steps of a run."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def decay(self) -> str: ...


def learning_rate_factor(step: int, config: Schedule) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine, (1 - t)^0.9 (released), or constant."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return (1 - progress) ** 0.9 if config.decay == "poly" else 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, schedule: Schedule) -> float:
    """Sets the rate of every group for this step and returns the share of its peak that it is."""
    factor = learning_rate_factor(step, schedule)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return factor


def choose_precision(wanted: str, device: torch.device) -> tuple[str, str]:
    """Which of fp32 and bf16 to compute in, and why.

    On a CPU, bf16 pays only with matrix instructions for it, so `auto` times one convolution in both.

    Returns:
        ("fp32" | "bf16", reason for the log).
    """
    if wanted != "auto":
        return wanted, "as configured"
    if device.type == "cuda":
        return ("bf16", "the GPU computes in it") if torch.cuda.is_bf16_supported() else ("fp32", "the GPU lacks bf16")
    if device.type != "cpu":
        return "fp32", f"bf16 is not tested on {device.type}"
    seconds = {dtype: _time_convolution(dtype) for dtype in (torch.float32, torch.bfloat16)}
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    # below this the casts of autocast eat the gain
    chosen = "bf16" if ratio > 1.3 else "fp32"
    return chosen, f"a convolution in bf16 took {1 / ratio:.2f} of its time in fp32"


def _time_convolution(dtype: torch.dtype) -> float:
    """Processor seconds on one thread: unlike wall time, others who compute at that moment do not lengthen them."""
    layer = nn.Conv3d(32, 32, 3, padding=1).to(dtype)
    volume = torch.rand(4, 32, 16, 16, 12).to(dtype)
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(9):
                start = time.thread_time()
                layer(volume)
                times.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return min(times)
