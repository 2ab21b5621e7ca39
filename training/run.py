"""What every training run is made of, whatever it trains: processes, folder, optimiser steps, validations, the loop.

What is trained, on which batches, and what a validation measures is up to the run (`PretrainRun`, `FinetuneRun`,
`TuningRun` of structurers).
"""

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from accelerate import PartialState
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType, broadcast_object_list, set_seed
from tqdm import tqdm
from transformers import PreTrainedModel

from .checkpoint import TrainingState, read_state, save_checkpoint
from .config import TrackingConfig
from .configuration import as_dict
from .distributed import new_accelerator
from .optimization import Schedule, choose_precision, set_learning_rate
from .prefetch import WaitClock, prefetch
from .run_folder import RunConfig, drop_lines_after, prepare_output

logger = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound=PreTrainedModel)


class StepSettings(Schedule, Protocol):
    """What the configuration of any run says of its optimiser steps."""

    @property
    def max_grad_norm(self) -> float: ...
    @property
    def precision(self) -> str: ...
    @property
    def seed(self) -> int: ...


class TrainingConfig(RunConfig, Protocol):
    """What the configuration of any run has."""

    @property
    def optimization(self) -> StepSettings: ...
    @property
    def tracking(self) -> TrackingConfig: ...


class TrainingRun(ABC, Generic[ModelT]):
    """A run from its configuration, resumed where `last` stands. Its model is built by the run itself.

    Attributes:
        primary_metric: The validation metric by which the best checkpoint is chosen; more is better.
        processor: What is saved beside the model.
        state: How far the run is.
    """

    primary_metric: str
    processor: Any
    model: ModelT
    optimizer: AcceleratedOptimizer
    state: TrainingState

    def __init__(self, config: TrainingConfig):
        processes = PartialState(cpu=not torch.cuda.is_available())
        if processes.is_main_process:
            prepare_output(config)
        processes.wait_for_everyone()
        self.output, self.tracking, self.settings = config.output, config.tracking, config.optimization
        self.precision, reason = agreed_precision(config, processes.device, self.choose_precision)
        self.accelerator = new_accelerator(
            self.precision,
            processes.device,
            log_with=None if self.tracking.tracker == "none" else self.tracking.tracker,
            project_dir=str(config.output),
        )
        if self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise ValueError(
                "expected one process or data-parallel ones, each with the whole model (its checkpoints are), got "
                f"{self.accelerator.distributed_type.value}; see docs/scaling.md"
            )
        if self.is_main:
            logger.info("device %s, precision %s (%s)", processes.device, self.precision, reason)
        set_seed(self.settings.seed)

    @abstractmethod
    def step(self, batch: Any) -> dict[str, float]:
        """One optimiser step on one global batch; a line for the log."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Validation metrics of the model as it is, the same on every process."""

    def choose_precision(self, wanted: str, device: torch.device) -> tuple[str, str]:
        """Which of fp32 and bf16 to compute in, and why."""
        return choose_precision(wanted, device)

    def save_best(self) -> None:
        """Write the checkpoint that others load; called in the main process only."""
        save_checkpoint(self.output / "best", self.bare_model, self.processor, self.state)

    def save_last(self) -> None:
        """Write what the run resumes from; called in the main process only."""
        save_checkpoint(self.output / "last", self.bare_model, self.processor, self.state, self.optimizer.optimizer)

    @property
    def is_main(self) -> bool:
        """Whether this process writes and talks."""
        return self.accelerator.is_main_process

    @property
    def bare_model(self) -> ModelT:
        """The model without the wrapper of distributed training."""
        model: ModelT = self.accelerator.unwrap_model(self.model)
        return model

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the last `patience` validations were all no better than the best; never without patience."""
        patience = self.tracking.patience
        if patience is None or self.state.best_metric is None:
            return False
        return self.state.step - self.state.best_step >= patience * self.tracking.validate_every

    def take_step(self, loss: torch.Tensor) -> dict[str, float]:
        """The optimiser step that follows a backward pass.

        Args:
            loss: The global loss, the same on every process.

        Returns:
            `loss`, `grad_norm` and `learning_rate_factor`, the share of the peak learning rates.

        Raises:
            RuntimeError: The loss is not finite.
        """
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        factor = set_learning_rate(self.optimizer.optimizer, self.state.step, self.settings)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state = replace(self.state, step=self.state.step + 1)
        if not torch.isfinite(loss):
            raise RuntimeError(
                f"the loss is {loss.item()} at step {self.state.step}; resume from `last` with a lower learning rate"
            )
        return {"loss": loss.item(), "grad_norm": float(norm), "learning_rate_factor": factor}

    def validate(self) -> dict[str, float]:
        """Validation metrics; writes `last`, and `best` where it is."""
        metrics = self.measure()
        metric = metrics[self.primary_metric]
        is_best = self.state.best_metric is None or metric > self.state.best_metric
        self.state = replace(self.state, metrics=metrics)
        if is_best:
            self.state = replace(self.state, best_metric=metric, best_step=self.state.step)
        if self.is_main:
            if is_best:
                self.save_best()
            self.save_last()
        self.accelerator.wait_for_everyone()
        return metrics

    def log(self, line: dict[str, float]) -> None:
        """Add a line to metrics.jsonl, and tell the tracker."""
        if not self.is_main:
            return
        with (self.output / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.tracking.tracker != "none":
            self.accelerator.log({key: value for key, value in line.items() if key != "step"}, step=int(line["step"]))

    def drop_unsaved_lines(self) -> None:
        """Removes from the log what an interrupted run wrote after its last checkpoint."""
        if self.is_main:
            drop_lines_after(self.output / "metrics.jsonl", self.state.step)


@dataclass(frozen=True)
class LoopSummary:
    """What a session of a run did.

    Attributes:
        steps: Steps taken.
        training_seconds: Time between logged lines, validations left out.
        wait_share: Share of it spent waiting for batches.
    """

    steps: int
    training_seconds: float
    wait_share: float


def run_to_end(
    run: TrainingRun[Any],
    config: TrainingConfig,
    make_batch: Callable[[int], Any],
    *,
    name: str,
    batch_size: int,
    num_workers: int,
    unit: Literal["studies", "reports"] = "studies",
) -> LoopSummary:
    """Take a run to its last step, or until it is out of patience: steps, lines of the log, validations.

    Args:
        run: The run, at any step.
        config: Its configuration, for the tracker.
        make_batch: The batch of a step; a pure function of the step.
        name: What the progress bar calls it.
        batch_size: Studies or reports in a batch, over all processes.
        num_workers: As for `prefetch`.
        unit: What a batch is of.
    """
    tracking, steps = run.tracking, run.settings.steps
    if run.is_main and tracking.tracker != "none":
        run.accelerator.init_trackers("selip", config=_flat(as_dict(config)))
    first_step = run.state.step
    stop = first_step if run.is_out_of_patience else steps
    clock, shown_waits, training_seconds = WaitClock(), [], 0.0
    batches = prefetch(make_batch, first_step, stop, num_workers=num_workers)
    bar = tqdm(total=steps, initial=first_step, desc=name, unit="step", disable=None if run.is_main else True)
    started = time.perf_counter()
    for batch in clock.watch(batches):
        line = run.step(batch)
        step = run.state.step
        if step % tracking.log_every == 0 or step == steps:
            seconds, wait_share = clock.read()
            training_seconds += seconds
            shown_waits.append(seconds * wait_share)
            done_since = (step - first_step) % tracking.log_every or tracking.log_every
            line |= {
                "step": step,
                f"{unit}_per_second": done_since * batch_size / seconds,
                "data_wait_share": wait_share,
            }
            shown = {"loss": f"{line['loss']:.3f}", f"{unit}/s": f"{line[f'{unit}_per_second']:.0f}"}
            bar.set_postfix(shown | {"wait": f"{wait_share:.1%}"})
            run.log(line)
        bar.update()
        if step % tracking.validate_every == 0 or step == steps:
            run.state = replace(run.state, seconds=run.state.seconds + time.perf_counter() - started)
            metrics = run.validate()
            run.log({"step": step, **{f"validation/{key}": value for key, value in metrics.items()}})
            if run.is_out_of_patience:
                break
            started = time.perf_counter()
            clock.read()
    batches.close()
    bar.close()
    if run.is_main and tracking.tracker != "none":
        for tracker in run.accelerator.trackers:  # `end_training` would also end the group that others still talk in
            tracker.finish()
    return LoopSummary(
        steps=run.state.step - first_step,
        training_seconds=training_seconds,
        wait_share=sum(shown_waits) / training_seconds if training_seconds else 0.0,
    )


def agreed_precision(
    config: TrainingConfig, device: torch.device, choose: Callable[[str, torch.device], tuple[str, str]]
) -> tuple[str, str]:
    """Precision of a run and the reason for it: one on all processes, and the same after it is resumed.

    `auto` may measure, and come out otherwise in another process or at another time.
    """
    wanted, last = config.optimization.precision, config.output / "last"
    if wanted == "auto" and last.exists():
        before = read_state(last).environment or {}
        return before["precision"], "as before it was resumed"
    return broadcast_object_list([choose(wanted, device)])[0]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat
