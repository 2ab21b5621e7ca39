"""Gathering embeddings across processes with exact gradients; how a program of several begins and ends."""

import logging
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState


class _AllGather(torch.autograd.Function):
    """Concatenates a tensor over ranks. Backward: the sum over ranks of each rank's gradient for this rank's slice.

    Every rank computes the same loss on the gathered tensor, so that sum is world size times the gradient; DDP divides
    by the world size when it averages. `Accelerator.gather` would cut the gradient off.
    """

    @staticmethod
    def forward(ctx: Any, local: torch.Tensor) -> torch.Tensor:
        gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, local.contiguous())
        ctx.rows = len(local)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank() * ctx.rows : (dist.get_rank() + 1) * ctx.rows]


def gather_rows(local: torch.Tensor) -> torch.Tensor:
    """Rows of all processes in rank order, with gradient; the tensor itself in a single process.

    Args:
        local: (n, ...), the same shape on every rank.

    Returns:
        (world size * n, ...).
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    return _AllGather.apply(local)


def new_accelerator(precision: str, device: torch.device, **options: Any) -> Accelerator:
    """The Accelerator of a run, also after a run of another precision in this process, which Accelerate refuses.

    Args:
        precision: fp32 or bf16.
        device: Of this process.
        options: Further arguments of `Accelerator`.
    """
    AcceleratorState._reset_state()
    mixed = "no" if precision == "fp32" else "bf16"
    return Accelerator(mixed_precision=mixed, cpu=device.type == "cpu", **options)


def leave_processes() -> None:
    """End a program of several processes that has done all its work; returns where there is one process only.

    Gloo's threads outlive `destroy_process_group` (torch 2.13: they run on after it), and one of them that still holds
    a tensor of the last exchange while Python shuts down aborts its process (pytorch pull request 179291), about once
    in 30 launches. So nothing is shut down: what is written is flushed, all wait for each other, the process leaves.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    dist.barrier()
    os._exit(0)
