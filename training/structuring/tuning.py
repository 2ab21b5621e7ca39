"""Tuning a language model to write findings: the explicit loop.

One process        selip tune-structurer CONFIG.yaml
Several            accelerate launch -m selip.training.structuring.tuning CONFIG.yaml
A try on a laptop  selip tune-structurer structuring/tiny

The loop is our own and not `Trainer`: what a step sees is drawn from its number, so a run that was cut goes on bit for
bit from weights and optimiser alone, and checkpoints are safetensors (those of `Trainer` are pickles). It stops when
finding F1 on held-out reports has not risen for a while, and F1 needs answers to be generated, not only a loss.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, set_seed
from peft import PeftModel
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from ..checkpoint import TrainingState
from ..distributed import new_accelerator
from ..optimization import learning_rate_factor
from ..program import run_program
from ..run_folder import drop_lines_after, prepare_output, run_environment
from .config import TuneConfig
from .dry_run import DryRun, dry_run
from .examples import BatchOrder, Example, collate
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
        seconds: time of training and validation, over all sessions of the run.
    """

    best: Path
    best_f1: float
    best_step: int
    steps: int
    is_stopped_early: bool
    merged: Path | None
    seconds: float


class TuningRun:
    """Everything a run is made of, built from its configuration, resumed where `last` stands."""

    def __init__(self, config: TuneConfig):
        self.config = config
        self.base_model = published_id(config.model)  # refused before anything is loaded or written
        if config.model.tuning == "qlora":
            check_quantization()
        processes = PartialState(cpu=not torch.cuda.is_available())
        if processes.is_main_process:
            prepare_output(config)
        processes.wait_for_everyone()
        self.precision = choose_precision(config.optimization.precision, processes.device)
        self.accelerator = new_accelerator(self.precision, processes.device)
        self._check_processes()
        self.is_main: bool = self.accelerator.is_main_process
        set_seed(config.optimization.seed)
        self.data = read_tuning_data(config, show_progress=self.is_main)
        self.prompt = build_prompt(config, self.data)
        self.tuning_set = TuningSet(self.data, self.prompt, config)
        self._build()

    def _check_processes(self) -> None:
        accelerator, batch = self.accelerator, self.config.optimization.batch_reports
        if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise ValueError(
                "expected one process or data-parallel ones, each with the whole model, got "
                f"{accelerator.distributed_type.value}; qlora fits large models on one GPU"
            )
        if batch % accelerator.num_processes:
            raise ValueError(
                f"expected batch_reports to be a multiple of the {accelerator.num_processes} processes, got {batch}"
            )

    def _build(self) -> None:
        config, last = self.config, self.config.output / "last"
        set_seed(config.optimization.seed)
        model = load_model(config.model, self.precision, self.prompt.tokenizer)
        optimizer = build_optimizer(model, config)
        self.state = load_progress(last, model, optimizer) if last.exists() else TrainingState()
        if self.is_main:
            drop_lines_after(config.output / "metrics.jsonl", self.state.step)
        self.constraint = build_constraint(model, self.prompt)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.state = replace(self.state, environment=self._environment())

    @property
    def bare_model(self) -> PreTrainedModel | PeftModel:
        """The model without the wrapper of distributed training."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def order(self) -> BatchOrder:
        return self.tuning_set.order

    def step(self) -> dict[str, float]:
        """One optimiser step: the mean loss per token of all answers of the batch, over all processes."""
        config, accelerator, number = self.config.optimization, self.accelerator, self.state.step
        batch = [self.tuning_set.examples[i] for i in self.order.batch(number)]
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
        norm = accelerator.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        rate = config.learning_rate * learning_rate_factor(number, config)
        for group in self.optimizer.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state = replace(self.state, step=number + 1)
        loss = float(accelerator.reduce(total, "sum"))
        if not loss < float("inf"):
            raise RuntimeError(
                f"the loss is {loss} at step {number + 1}; resume from `last` with a lower learning rate"
            )
        return {"loss": loss, "grad_norm": float(norm), "learning_rate": rate, "answer_tokens": answer_tokens}

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

    def validate(self) -> dict[str, float]:
        """F1 on the held-out reports; writes `last`, and `best` where it is."""
        metrics = validation_metrics(
            self.accelerator,
            self.bare_model,
            self.prompt,
            self.data.validation,
            self.config.optimization,
            self.constraint,
        )
        is_best = self.state.best_metric is None or metrics["f1"] > self.state.best_metric
        self.state = replace(self.state, metrics=metrics)
        if is_best:
            self.state = replace(self.state, best_metric=metrics["f1"], best_step=self.state.step)
        if self.is_main:
            output, model = self.config.output, self.bare_model
            if is_best:
                save_structurer(
                    output / "best",
                    model,
                    self.prompt,
                    self.state,
                    base_model=self.base_model,
                    max_new_tokens=self.config.optimization.max_new_tokens,
                )
            save_progress(output / "last", model, self.optimizer.optimizer, self.state)
        self.accelerator.wait_for_everyone()
        return metrics

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the last `patience` validations were all no better than the best."""
        config = self.config.optimization
        waited = (self.state.step - self.state.best_step) / config.validate_every
        return self.state.best_metric is not None and waited >= config.patience

    def _environment(self) -> dict:
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


def choose_precision(wanted: str, device: torch.device) -> str:
    """fp32 or bf16; `auto` is bf16 on a GPU that computes in it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def build_optimizer(model: torch.nn.Module, config: TuneConfig) -> torch.optim.AdamW:
    """AdamW over the trained weights, with decay on matrices only."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.optimization.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.optimization.learning_rate)


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
    bar = tqdm(
        total=optimization.steps,
        initial=run.state.step,
        desc="tune",
        unit="step",
        disable=None if run.is_main else True,
    )
    started = time.perf_counter()
    while run.state.step < optimization.steps and not run.is_out_of_patience:
        line = run.step()
        step = run.state.step
        bar.update()
        if step % optimization.log_every == 0 or step == optimization.steps:
            bar.set_postfix(loss=f"{line['loss']:.3f}", f1=f"{run.state.best_metric or 0.0:.3f}")
            _log(run, {"step": step, **line})
        if step % optimization.validate_every == 0 or step == optimization.steps:
            run.state = replace(run.state, seconds=run.state.seconds + time.perf_counter() - started)
            started = time.perf_counter()
            metrics = run.validate()
            _log(run, {"step": step, **{f"validation/{name}": value for name, value in metrics.items()}})
    bar.close()
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
        "device %s, precision %s; %d examples (%d left out as longer than %d tokens), %d reports watched, "
        "%.2f M of %.2f M parameters trained, from step %d",
        run.accelerator.device,
        run.precision,
        len(run.tuning_set.examples),
        run.tuning_set.left_out,
        run.config.data.max_tokens,
        len(run.data.validation),
        facts["trainable"] / 1e6,
        facts["parameters"] / 1e6,
        run.state.step,
    )


def _log(run: TuningRun, line: dict[str, float]) -> None:
    if run.is_main:
        with (run.config.output / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


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
