"""Tuning a language model to write findings: the explicit loop.

One process        selip tune-structurer CONFIG.yaml
Several            accelerate launch -m selip.training.structuring.tuning CONFIG.yaml
A try on a laptop  selip tune-structurer structuring/tiny

The loop is that of pretraining (../run.py) and not `Trainer`: what a step sees is drawn from its number, so a run that
was cut goes on bit for bit from weights and optimiser alone, and checkpoints are safetensors (those of `Trainer` are
pickles). It stops when finding F1 on held-out reports has not risen for a while, and F1 needs answers to be generated,
not only a loss.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from transformers.utils.logging import disable_progress_bar

from ..checkpoint import TrainingState
from ..optimization import choose_precision, parameter_groups
from ..program import run_program
from ..run import TrainingRun, run_to_end
from ..run_folder import run_environment
from .config import TuneConfig
from .dry_run import DryRun, dry_run
from .examples import Example, collate
from .local import build_constraint
from .loss import answer_loss
from .models import check_quantization, load_model, merge_adapter, published_id
from .saving import load_progress, save_progress, save_structurer
from .tuning_data import TuningSet, build_prompt, read_tuning_data
from .validation import validation_metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningSummary:
    """Outcome of a run.

    Attributes:
        best: folder of the best structurer.
        best_f1: its finding F1 on the held-out reports.
        best_step: step it was reached at.
        steps: steps taken in all.
        is_stopped_early: whether F1 had stopped rising.
        merged: folder of the merged model, None where none was asked for.
        seconds: time spent in training steps, over all sessions of the run.
    """

    best: Path
    best_f1: float
    best_step: int
    steps: int
    is_stopped_early: bool
    merged: Path | None
    seconds: float


class TuningRun(TrainingRun[Any]):  # a `PreTrainedModel`, or a `PeftModel` around one
    """Everything a run is made of, built from its configuration, resumed where `last` stands."""

    primary_metric = "f1"

    def __init__(self, config: TuneConfig):
        self.config = config
        self.base_model = published_id(config.model)  # refused before anything is loaded or written
        if config.model.tuning == "qlora":
            check_quantization()
        super().__init__(config)
        batch, processes = config.optimization.batch_reports, self.accelerator.num_processes
        if batch % processes:
            raise ValueError(f"expected batch_reports to be a multiple of the {processes} processes, got {batch}")
        self.data = read_tuning_data(config, show_progress=self.is_main)
        self.prompt = build_prompt(config, self.data)
        self.tuning_set = TuningSet(self.data, self.prompt, config)
        self._build()

    def choose_precision(self, wanted: str, device: torch.device) -> tuple[str, str]:
        """As configured; `auto` is bf16 on a GPU that computes in it, and fp32 on a CPU, whatever is faster there."""
        return ("fp32", "on a CPU") if wanted == "auto" and device.type == "cpu" else choose_precision(wanted, device)

    def _build(self) -> None:
        config, last = self.config, self.config.output / "last"
        set_seed(config.optimization.seed)
        model = load_model(config.model, self.precision, self.prompt.tokenizer)
        rate = config.optimization.learning_rate
        groups = parameter_groups(model, lambda name: rate, config.optimization.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=rate)
        self.state = load_progress(last, model, optimizer) if last.exists() else TrainingState()
        self.drop_unsaved_lines()
        self.constraint = build_constraint(model, self.prompt)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.state = replace(self.state, environment=self._environment())

    def batch(self, step: int) -> list[Example]:
        """The reports of a step, those of all processes."""
        return [self.tuning_set.examples[i] for i in self.tuning_set.order.batch(step)]

    def step(self, batch: list[Example]) -> dict[str, float]:
        """One optimiser step: the mean loss per token of all answers of the batch, over all processes."""
        config, accelerator, number = self.config.optimization, self.accelerator, self.state.step
        answer_tokens = sum(len(example.answer) for example in batch)
        mine = batch[accelerator.process_index :: accelerator.num_processes]
        parts = [mine[at : at + config.micro_batch] for at in range(0, len(mine), config.micro_batch)]
        self.model.train()
        total = torch.zeros((), device=accelerator.device)
        for k, part in enumerate(parts):
            # dropout, where a model has any, is drawn from the step and not from what was drawn before
            torch.manual_seed(drawn_seed(config.seed, number, k, accelerator.process_index))
            if k < len(parts) - 1:
                with accelerator.no_sync(self.model):
                    total += self._backward(part, answer_tokens)
            else:
                total += self._backward(part, answer_tokens)
        line = self.take_step(accelerator.reduce(total, "sum"))
        rate = config.learning_rate * line.pop("learning_rate_factor")
        return {**line, "learning_rate": rate, "answer_tokens": answer_tokens}

    def _backward(self, part: Sequence[Example], answer_tokens: int) -> torch.Tensor:
        """Gradient of a micro-batch; its share of the loss of the batch."""
        batch = {
            name: value.to(self.accelerator.device)
            for name, value in collate(part, self.prompt.tokenizer.pad_token_id).items()
        }
        loss = answer_loss(self.model, batch) / answer_tokens
        # gradients are averaged over processes, and here each has a part of one sum
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def measure(self) -> dict[str, float]:
        """Precision, recall and F1 of the findings generated for the held-out reports."""
        return validation_metrics(
            self.accelerator,
            self.bare_model,
            self.prompt,
            self.data.validation,
            self.config.optimization,
            self.constraint,
        )

    def save_best(self) -> None:
        """Write the structurer as `selip structure` loads it."""
        save_structurer(
            self.output / "best",
            self.bare_model,
            self.prompt,
            self.state,
            base_model=self.base_model,
            max_new_tokens=self.config.optimization.max_new_tokens,
        )

    def save_last(self) -> None:
        """Write the trained weights alone: a base that is not trained is where it was."""
        save_progress(self.output / "last", self.bare_model, self.optimizer.optimizer, self.state)

    def _environment(self) -> dict[str, Any]:
        config, model = self.config, self.bare_model
        return {
            **run_environment(self.accelerator, self.precision),
            "base_model": self.base_model if config.model.base is not None else "none, from scratch",
            "tuning": config.model.tuning,
            "lora_rank": config.model.lora_rank,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "trainable": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            "languages": sorted({report.text.language for report in self.data.training}),
            "pseudo_reports": config.data.pseudo_reports,
            "group_reports": self.data.group_reports,
            "left_out": self.tuning_set.left_out,
            "steps": config.optimization.steps,
            "batch_reports": config.optimization.batch_reports,
            "learning_rate": config.optimization.learning_rate,
            "is_constrained": self.constraint is not None,
        }


def drawn_seed(*numbers: int) -> int:
    """A seed for torch that differs where any of the numbers does."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def tune_structurer(config: TuneConfig) -> TuningSummary | DryRun:
    """Tune a structurer, or resume its run, and say where the best one is; with `dry_run`, say what it would take.

    Raises:
        FileExistsError: `config.output` holds another run.
        FileNotFoundError: the base or a file of group data is not there.
        ValueError: the configuration does not fit the base, the data or this machine.
    """
    if config.dry_run:
        return dry_run(config)
    disable_progress_bar()  # Transformers draws one for each checkpoint, across the bar of the run
    run = TuningRun(config)
    optimization = config.optimization
    if run.is_main:
        _tell_start(run)
    run_to_end(
        run, config, run.batch, name="tune", batch_size=optimization.batch_reports, num_workers=0, unit="reports"
    )
    merged = config.output / "merged" if config.merge and config.model.tuning != "full" else None
    if merged is not None and run.is_main:
        _save_merged(run, merged)
    run.accelerator.wait_for_everyone()
    return TuningSummary(
        best=config.output / "best",
        best_f1=float(run.state.best_metric or 0.0),
        best_step=run.state.best_step,
        steps=run.state.step,
        is_stopped_early=run.state.step < optimization.steps,
        merged=merged,
        seconds=run.state.seconds,
    )


def _save_merged(run: TuningRun, folder: Path) -> None:
    config = run.config
    save_structurer(
        folder,
        merge_adapter(config.model, config.output / "best", run.precision),
        run.prompt,
        replace(run.state, environment={**(run.state.environment or {}), "tuning": "merged"}),
        base_model=run.base_model,
        max_new_tokens=config.optimization.max_new_tokens,
    )


def _tell_start(run: TuningRun) -> None:
    facts = run.state.environment or {}
    logger.info(
        "%d examples (%d left out as longer than %d tokens), %d reports watched, "
        "%.2f M of %.2f M parameters trained, from step %d",
        len(run.tuning_set.examples),
        run.tuning_set.left_out,
        run.config.data.max_tokens,
        len(run.data.validation),
        facts["trainable"] / 1e6,
        facts["parameters"] / 1e6,
        run.state.step,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """`accelerate launch -m selip.training.structuring.tuning CONFIG.yaml [--group.field value ...]`"""
    run_program(
        tune_structurer,
        TuneConfig,
        arguments,
        module="selip.training.structuring.tuning",
        command="selip tune-structurer",
    )


if __name__ == "__main__":
    main()
