"""Contrastive pretraining: the explicit loop.

One process        selip pretrain CONFIG.yaml
Several            accelerate launch -m selip.training.pretrain CONFIG.yaml
A try on a laptop  selip demo

What a batch is stands in data.py, its loss and gradient over all processes in contrastive.py; here they are put to
work, validated, saved and resumed. docs/scaling.md has launch commands for several GPUs and machines.
"""

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, broadcast_object_list, set_seed
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from selip.modeling_selip.loss_selip import compared_pairs, scale_of
from selip.modeling_selip.modeling_selip import SelipModel
from selip.processing.findings_table import load_findings
from selip.processing.sources.studies import load_studies

from .checkpoint import TrainingState, load_checkpoint, read_state, save_checkpoint
from .config import PretrainConfig
from .configuration import as_dict, find_config, load_config, overrides_from_arguments
from .contrastive import ContrastiveGradient
from .data import BatchSource, StudyTexts, choose_studies, read_studies
from .distributed import leave_processes, new_accelerator
from .initialization import initialise_from_data
from .network import build_model, build_processor
from .objectives import load_objective, target_statistics
from .optimization import build_optimizer, choose_precision, set_learning_rate
from .prefetch import WaitClock, prefetch
from .run_folder import describe_environment, drop_lines_after, prepare_output
from .text_features import read_texts
from .text_similarity import build_similarity
from .validation import PRIMARY_METRIC, ValidationSet
from .volumes import VolumesTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainSummary:
    """Outcome of a run.

    Attributes:
        best: checkpoint folder of the best validation.
        best_metric: its validation metric.
        best_step: the step it was reached at.
        steps: steps taken in all.
        volumes_per_second: series embedded per second of training, over this session of the run.
        data_wait_share: share of the time spent waiting for batches.
    """

    best: Path
    best_metric: float
    best_step: int
    steps: int
    volumes_per_second: float
    data_wait_share: float


class PretrainRun:
    """Everything a run is made of, built from its configuration, resumed where `last` stands."""

    def __init__(self, config: PretrainConfig):
        self.config = config
        self.objective = load_objective(config.optimization.objective)
        processes = PartialState(cpu=not torch.cuda.is_available())
        if processes.is_main_process:
            prepare_output(config)
        processes.wait_for_everyone()
        device = processes.device
        self.precision, reason = agreed_precision(config, device)
        self.accelerator = new_accelerator(
            self.precision,
            device,
            log_with=None if config.tracking.tracker == "none" else config.tracking.tracker,
            project_dir=str(config.output),
        )
        if self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise ValueError(
                "expected one process or data-parallel ones, each with the whole model (its checkpoints are), got "
                f"{self.accelerator.distributed_type.value}; see docs/scaling.md"
            )
        if self.is_main:
            logger.info("device %s, precision %s (%s)", device, self.precision, reason)
        set_seed(config.optimization.seed)
        self._load_data()
        self._build()

    @property
    def is_main(self) -> bool:
        """Whether this process writes and talks."""
        return self.accelerator.is_main_process

    def _load_data(self) -> None:
        data = self.config.data
        self.table = VolumesTable(data.volumes)
        findings = load_findings(data.findings)
        written = _written_findings(data.studies) if "report" in data.text_items else {}
        self.train_studies = choose_studies(read_studies(self.table, findings, written, "train"), data.study_share)
        self.validation_studies = read_studies(self.table, findings, written, "validation")

    def _build(self) -> None:
        config, accelerator = self.config, self.accelerator
        last = config.output / "last"
        is_resumed = last.exists()
        max_tokens = config.data.max_text_tokens
        study_texts = StudyTexts(config.data)
        corpus = list(study_texts.corpus(self.train_studies))
        self.processor = build_processor(config.model, self.table.processor_config, corpus, max_tokens)
        tokenizer = self.processor.tokenizer
        model = build_model(config.model, self.processor, max_tokens)
        optimizer = build_optimizer(model, config.optimization)
        with accelerator.main_process_first():  # what it measures and writes, the others read
            similarity = build_similarity(
                config.optimization,
                config.data.language,
                config.output,
                (study_texts.of_study(study, config.data.text_items) for study in self.train_studies),
                corpus,
                is_main=self.is_main,
            )
        if is_resumed:
            self.state = load_checkpoint(last, model, optimizer)
        else:
            self.state = TrainingState()
            if config.model.start_from is None:
                initialise_from_data(model, tokenizer, self.table, self.train_studies, corpus, max_tokens)
        if self.is_main:
            drop_lines_after(config.output / "metrics.jsonl", self.state.step)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.gradient = ContrastiveGradient(
            accelerator,
            self.model,
            self.objective,
            micro_batch=config.optimization.micro_batch,
            seed=config.optimization.seed,
        )
        text_features = None
        if config.model.text_tuning == "frozen":
            text_features = read_texts(self.bare_model, tokenizer, corpus, max_tokens, accelerator)
        self.source = BatchSource(
            self.train_studies,
            self.table,
            tokenizer,
            config.data,
            config.augmentation,
            similarity,
            seed=config.optimization.seed,
            token_budget=model.vision_model.config.token_budget,
            process_index=accelerator.process_index,
            num_processes=accelerator.num_processes,
            text_features=text_features,
        )
        self.validation = ValidationSet(self.validation_studies, self.source.texts, self.table, tokenizer, max_tokens)
        self.state = replace(self.state, environment=describe_environment(accelerator, self.precision, config))

    def step(self, batch: dict) -> dict[str, float]:
        """One optimiser step on one global batch."""
        config, device = self.config.optimization, self.accelerator.device
        similarity = batch["similarity"].to(device)
        compared = compared_pairs(batch["text_study"], batch["text_mask"]).to(device)
        loss = self.gradient(batch["inputs"], compared, similarity, step=self.state.step)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        learning_rate = set_learning_rate(self.optimizer.optimizer, self.state.step, config)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state = replace(self.state, step=self.state.step + 1)
        if not torch.isfinite(loss):
            raise RuntimeError(
                f"the loss is {loss.item()} at step {self.state.step}; resume from `last` with a lower learning rate"
            )
        return {
            "loss": loss.item(),
            "grad_norm": float(norm),
            "learning_rate": learning_rate,
            "logit_scale": scale_of(self.bare_model.logit_scale.detach()).item(),
            **target_statistics(similarity, compared),
        }

    @property
    def bare_model(self) -> SelipModel:
        """The model without the wrapper of distributed training."""
        return self.accelerator.unwrap_model(self.model)

    def validate(self) -> dict[str, float]:
        """Validation metrics; writes `last`, and `best` where it is."""
        with self.accelerator.autocast():
            metrics = self.validation(self.bare_model)
        metric = metrics[PRIMARY_METRIC]
        is_best = self.state.best_metric is None or metric > self.state.best_metric
        self.state = replace(self.state, metrics=metrics)
        if is_best:
            self.state = replace(self.state, best_metric=metric, best_step=self.state.step)
        if self.is_main:
            model = self.bare_model
            if is_best:
                save_checkpoint(self.config.output / "best", model, self.processor, self.state)
            save_checkpoint(self.config.output / "last", model, self.processor, self.state, self.optimizer.optimizer)
        self.accelerator.wait_for_everyone()
        return metrics


def pretrain(config: PretrainConfig) -> PretrainSummary:
    """Runs or resumes a pretraining and returns where its best checkpoint is.

    Raises:
        FileExistsError: `config.output` holds another run.
        ValueError: the tables do not fit together, or the configuration is wrong.
    """
    disable_progress_bar()  # Transformers draws one for each checkpoint, across the bar of the run
    run = PretrainRun(config)
    tracking, optimization, data = config.tracking, config.optimization, config.data
    if run.is_main:
        _tell_start(run)
        if tracking.tracker != "none":
            run.accelerator.init_trackers("selip", config=_flat(as_dict(config)))
    clock, shown_waits, first_step = WaitClock(), [], run.state.step
    batches = prefetch(run.source.batch, first_step, optimization.steps, num_workers=data.num_workers)
    bar = tqdm(
        total=optimization.steps,
        initial=first_step,
        desc="pretrain",
        unit="step",
        disable=None if run.is_main else True,
    )
    volumes = data.batch_studies * data.series_per_study
    started, training_seconds = time.perf_counter(), 0.0
    for batch in clock.watch(batches):
        line = run.step(batch)
        step = run.state.step
        if step % tracking.log_every == 0 or step == optimization.steps:
            seconds, wait_share = clock.read()
            training_seconds += seconds
            shown_waits.append(seconds * wait_share)
            done_since = (step - first_step) % tracking.log_every or tracking.log_every
            line |= {
                "step": step,
                "studies_per_second": done_since * data.batch_studies / seconds,
                "data_wait_share": wait_share,
            }
            bar.set_postfix(
                loss=f"{line['loss']:.3f}",
                studies_s=f"{line['studies_per_second']:.0f}",
                wait=f"{wait_share:.1%}",
            )
            _log(run, line)
        bar.update()
        if step % tracking.validate_every == 0 or step == optimization.steps:
            run.state = replace(run.state, seconds=run.state.seconds + time.perf_counter() - started)
            metrics = run.validate()
            _log(run, {"step": step, **{f"validation/{name}": value for name, value in metrics.items()}})
            started = time.perf_counter()
            clock.read()
    bar.close()
    if run.is_main and tracking.tracker != "none":
        for tracker in run.accelerator.trackers:  # `end_training` would also end the group that others still talk in
            tracker.finish()
    taken = run.state.step - first_step
    return PretrainSummary(
        best=config.output / "best",
        best_metric=float(run.state.best_metric or 0.0),
        best_step=run.state.best_step,
        steps=run.state.step,
        volumes_per_second=taken * volumes / training_seconds if training_seconds else 0.0,
        data_wait_share=sum(shown_waits) / training_seconds if training_seconds else 0.0,
    )


def agreed_precision(config: PretrainConfig, device: torch.device) -> tuple[str, str]:
    """Precision of a run and the reason for it: one on all processes, and the same after it is resumed.

    `auto` measures on a CPU, and may come out otherwise in another process or at another time.
    """
    wanted, last = config.optimization.precision, config.output / "last"
    if wanted == "auto" and last.exists():
        before = read_state(last).environment or {}
        return before["precision"], "as before it was resumed"
    return broadcast_object_list([choose_precision(wanted, device)])[0]


def _written_findings(studies_path: Path) -> dict[str, str]:
    return {
        row["study_id"]: row["report"]["findings"]
        for split in load_studies(studies_path).values()
        for row in split.select_columns(["study_id", "report"])
    }


def _tell_start(run: PretrainRun) -> None:
    source, model = run.source, run.bare_model
    normal = round(run.config.data.normal_rate * run.config.data.batch_studies)
    logger.info(
        "%d training studies (%d without any text left out), %d batches in the first epoch, at most %d of %d studies "
        "of a batch normal, %.2f M parameters, from step %d",
        len(source.studies),
        source.num_without_text,
        len(source.plan(0)),
        normal,
        run.config.data.batch_studies,
        sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        run.state.step,
    )


def _log(run: PretrainRun, line: dict[str, float]) -> None:
    if not run.is_main:
        return
    with (run.config.output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    if run.config.tracking.tracker != "none":
        run.accelerator.log({key: value for key, value in line.items() if key != "step"}, step=int(line["step"]))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat


def main(arguments: Sequence[str] | None = None) -> None:
    """`accelerate launch -m selip.training.pretrain CONFIG.yaml [--group.field value ...]`"""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0].startswith("-"):
        raise SystemExit(f"usage: {main.__doc__}\nthe options are those of `selip pretrain --help`")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config(PretrainConfig, find_config(arguments[0]), overrides_from_arguments(arguments[1:]))
    summary = pretrain(config)
    logger.info(
        "best checkpoint %s: %s %.3f at step %d", summary.best, PRIMARY_METRIC, summary.best_metric, summary.best_step
    )
    leave_processes()


if __name__ == "__main__":
    main()
