"""Loss and gradient of one global batch: in one piece, or in micro-batches by GradCache.

Every process embeds its share of the studies, embeddings are gathered with exact gradients (distributed.py), and all
compute the same global loss. DDP averages gradients over the processes, which makes them those of one process.

GradCache (Gao et al. 2021, arXiv 2101.06983) needs the activations of one micro-batch only, whatever the batch:

    1. embed every micro-batch without a graph,
    2. compute the loss over all embeddings z, and g = dL/dz,
    3. embed each micro-batch again, now with a graph, and send sum(z g) backwards.

The sum over micro-batches is the gradient of L as long as an embedding does not depend on what else is in its
micro-batch, and comes out the same the second time. tests/training/test_contrastive.py holds it against one piece.
"""

from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .distributed import gather_rows
from .objectives import Objective

Inputs = dict[str, torch.Tensor]
# arguments of SelipModel with one row a text; all others have one row a study
TEXT_INPUTS = {"input_ids", "attention_mask", "text_features", "text_study", "text_series_mask", "text_mask"}


class ContrastiveGradient:
    """Adds the gradient of a global batch to the parameters of a model."""

    def __init__(
        self, accelerator: Accelerator, model: nn.Module, objective: Objective, *, micro_batch: int | None, seed: int
    ):
        """
        Args:
            accelerator: the process group, precision and backward pass.
            model: a `SelipModel` as `accelerator.prepare` returns it.
            objective: loss of gathered embeddings.
            micro_batch: studies per forward pass; None: all that this process has.
            seed: seed of dropout.

        Raises:
            ValueError: micro-batches are wanted of a model with BatchNorm.
        """
        self.accelerator, self.model, self.objective = accelerator, model, objective
        self.micro_batch, self.seed = micro_batch, seed
        self.bare_model = accelerator.unwrap_model(model)
        if micro_batch is not None:
            refuse_batch_norm(self.bare_model)

    def __call__(self, inputs: Inputs, compared: torch.Tensor, similarity: torch.Tensor, *, step: int) -> torch.Tensor:
        """
        Args:
            inputs: arguments of the model for the studies of this process, on any device; micro-batches are moved.
            compared: bool (P, P), over the texts of all processes in rank order, on the device of the model.
            similarity: float32 (P, P), of the same texts, on the device of the model.
            step: number of the step; dropout is drawn from it.

        Returns:
            The global loss, the same on every process, without a graph.
        """
        parts = split_studies(inputs, self.micro_batch or len(inputs["pixel_values"]))
        first = self.accelerator.process_index * len(parts)
        seeds = [self.dropout_seed(step, first + number) for number in range(len(parts))]
        backward = self._backward_whole if len(parts) == 1 else self._backward_cached
        return backward(parts, seeds, compared, similarity).detach()

    def dropout_seed(self, step: int, micro_batch: int) -> int:
        """Seed of one micro-batch of a step, by its place in the global batch: not by the process that computes it."""
        return int(np.random.SeedSequence([self.seed, step, micro_batch]).generate_state(1, np.uint64)[0])

    def _backward_whole(
        self, parts: list[Inputs], seeds: list[int], compared: torch.Tensor, similarity: torch.Tensor
    ) -> torch.Tensor:
        views, texts = self._embed(self.model, parts[0], seeds[0])
        loss = self._loss(views, texts, self.bare_model.logit_scale, compared, similarity)
        self.accelerator.backward(loss)
        return loss

    def _backward_cached(
        self, parts: list[Inputs], seeds: list[int], compared: torch.Tensor, similarity: torch.Tensor
    ) -> torch.Tensor:
        with torch.no_grad():
            embeds = [self._embed(self.bare_model, part, seed) for part, seed in zip(parts, seeds, strict=True)]
        views = torch.cat([view for view, _ in embeds]).requires_grad_()
        texts = torch.cat([text for _, text in embeds]).requires_grad_()
        scale = self.bare_model.logit_scale.detach().requires_grad_()
        loss = self._loss(views, texts, scale, compared, similarity)
        of_views, of_texts, of_scale = torch.autograd.grad(loss, (views, texts, scale), materialize_grads=True)
        sizes = [len(text) for _, text in embeds]
        replays = zip(parts, seeds, of_views.split(sizes), of_texts.split(sizes), strict=True)
        for number, (part, seed, of_view, of_text) in enumerate(replays, start=1):
            is_last = number == len(parts)
            # processes exchange gradients once, when all of them are there
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                view, text = self._embed(self.model, part, seed)
                surrogate = (view * of_view).sum() + (text * of_text).sum()
                if is_last and self.bare_model.logit_scale.requires_grad:
                    surrogate = surrogate + (self.bare_model.logit_scale * of_scale).sum()
                self.accelerator.backward(surrogate)
        return loss

    def _embed(self, model: nn.Module, part: Inputs, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views and texts of a micro-batch, (P', E) each."""
        on_device = {name: value.to(self.accelerator.device, non_blocking=True) for name, value in part.items()}
        torch.manual_seed(seed)
        # one autocast context a pass: within one, weights cast without a graph would be used again where one is needed
        with self.accelerator.autocast():
            output = model(**on_device)
        return output.view_embeds, output.text_embeds

    def _loss(
        self,
        views: torch.Tensor,
        texts: torch.Tensor,
        logit_scale: torch.Tensor,
        compared: torch.Tensor,
        similarity: torch.Tensor,
    ) -> torch.Tensor:
        return self.objective(gather_rows(views), gather_rows(texts), logit_scale, compared, similarity)


def split_studies(inputs: Mapping[str, torch.Tensor], size: int) -> list[Inputs]:
    """Micro-batches of `size` consecutive studies with the texts that speak of them; the last may be smaller.

    Args:
        inputs: arguments of `SelipModel`; `text_study` (P,) ascends.
        size: studies in a micro-batch.

    Raises:
        ValueError: `text_study` does not ascend, so that the texts of a study are no slice.
    """
    text_study = inputs["text_study"]
    if (text_study.diff() < 0).any():
        raise ValueError("expected text_study in ascending order (the texts of a study side by side), got another")
    parts = []
    for start in range(0, len(inputs["pixel_values"]), size):
        bounds = torch.tensor([start, start + size], device=text_study.device)
        first, last = torch.searchsorted(text_study, bounds).tolist()
        part = {
            name: value[first:last] if name in TEXT_INPUTS else value[start : start + size]
            for name, value in inputs.items()
        }
        parts.append({**part, "text_study": part["text_study"] - start})
    return parts


def refuse_batch_norm(model: nn.Module) -> None:
    """
    Raises:
        ValueError: the model has BatchNorm that uses the statistics of its batch.
    """
    wrong = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and module.training]
    if wrong:
        raise ValueError(
            "expected a model whose embeddings do not depend on the rest of their micro-batch, got BatchNorm in "
            f"{len(wrong)} layers (the first is {wrong[0]}); with optimization.micro_batch set, choose "
            "model.vision.norm group or frozen_batch"
        )
