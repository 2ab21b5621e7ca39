"""Fine-tuning a head: what a run is made of, and the command.

One process        selip finetune CONFIG.yaml
Several            accelerate launch -m selip.training.finetuning.run CONFIG.yaml
A try on a laptop  selip finetune finetuning/classification_tiny, or finetuning/segmentation_tiny

The loop is that of pretraining (run.py).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from selip.modeling_selip import SelipHeadModel
from selip.processing.sources.data_statement import data_statement
from selip.processing.sources.studies import studies_fingerprint

from ..augmentation import VolumeChange
from ..checkpoint import STATE_FILE, TrainingState, load_checkpoint, read_state
from ..evaluation.probe_metrics import mean_area
from ..evaluation.provenance import checkpoint_fingerprint
from ..evaluation.segmentation import dice_of_counts
from ..evaluation.series_source import PreparedSeries
from ..initialization import initialise_images
from ..network import load_image_processor, weights_of
from ..optimization import parameter_groups
from ..program import run_program
from ..run import TrainingRun, run_to_end
from ..run_folder import run_environment
from ..volumes import VolumesTable
from .batches import HeadBatches, HeadStudy, Targets, on_device, whole_batch
from .config import FinetuneConfig
from .data import read_head_data
from .network import build_head_model, start_from_checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneSummary:
    """Outcome of a run.

    Attributes:
        best: Checkpoint folder of the best validation.
        metric: The validation metric that says so.
        best_metric: Its value there.
        best_step: The step it was reached at.
        steps: Steps taken in all.
        is_stopped_early: Whether the metric had stopped rising.
        training_studies: Studies that were learned from.
    """

    best: Path
    metric: str
    best_metric: float
    best_step: int
    steps: int
    is_stopped_early: bool
    training_studies: int


class FinetuneRun(TrainingRun[SelipHeadModel]):
    """Everything a run is made of, built from its configuration, resumed where `last` stands."""

    def __init__(self, config: FinetuneConfig):
        self.config = config
        weights_of(config.model.checkpoint, "model.checkpoint")  # before a folder is made
        self.primary_metric = "dice" if config.task == "segmentation" else "auroc"
        super().__init__(config)
        self.processor = load_image_processor(config.model.checkpoint)
        self.table = VolumesTable(config.data.volumes)
        PreparedSeries(self.table, self.processor)  # refuses another box
        if self.table.info.studies_fingerprint != studies_fingerprint(config.data.studies):
            raise ValueError(
                f"expected volumes prepared from {config.data.studies}, but {config.data.volumes} was prepared from "
                "another studies table; prepare again"
            )
        self.data = read_head_data(config, self.table, self.processor, show_progress=self.is_main)
        self._build()

    def _build(self) -> None:
        config, accelerator = self.config, self.accelerator
        last = config.output / "last"
        fields: dict[str, Any] = {"id2label": dict(enumerate(self.data.names))}
        fields["label2id"] = {name: number for number, name in enumerate(self.data.names)}
        if config.task == "segmentation":
            fields["decoder_width"] = config.model.decoder_width
        else:
            kind = "single" if config.data.is_exclusive else "multi"
            fields["problem_type"] = f"{kind}_label_classification"
        model = build_head_model(config.task, config.model.checkpoint, **fields)
        if not last.exists() and config.model.weights == "checkpoint":
            start_from_checkpoint(model, config.model.checkpoint)
        elif not last.exists():
            initialise_images(model.eval(), self.table, self.data.rows)
        model.train()
        if config.model.tuning == "frozen":
            model.freeze_backbone()
        rates = config.optimization
        groups = parameter_groups(
            model,
            lambda name: rates.learning_rate_head if name.startswith(f"{model.head_name}.") else rates.learning_rate,
            rates.weight_decay,
        )
        optimizer = torch.optim.AdamW(groups)
        self.state = load_checkpoint(last, model, optimizer) if last.exists() else TrainingState()
        self.drop_unsaved_lines()
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.source = HeadBatches(
            self.data.studies["train"],
            self.table,
            Targets(self.data.masks),
            config.augmentation,
            batch_studies=config.data.batch_studies,
            max_series=config.data.max_series,
            seed=config.optimization.seed,
            token_budget=None if config.model.tuning == "frozen" else model.vision_model.config.token_budget,
            process_index=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
        self.state = replace(self.state, environment=self._environment())

    def step(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """One optimiser step: the mean loss of the studies of the batch, over all processes."""
        with self.accelerator.autocast():
            loss = self.model(**on_device(batch, self.accelerator.device)).loss
        self.accelerator.backward(loss)
        # each process has as many studies, so the mean of the means is that of all
        line = self.take_step(self.accelerator.reduce(loss.detach(), "mean"))
        rates, factor = self.config.optimization, line.pop("learning_rate_factor")
        return {**line, "learning_rate": rates.learning_rate * factor}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Loss, and area under the ROC curve or Dice on the box, of the validation studies."""
        model = self.bare_model
        model.eval()
        losses, found = [], []
        studies, size = self.data.studies["validation"], self.config.data.batch_studies
        targets, is_shown = Targets(self.data.masks), None if self.is_main else True
        for start in tqdm(range(0, len(studies), size), desc="validate", leave=False, disable=is_shown):
            some = studies[start : start + size]
            batch = on_device(whole_batch(some, self.table), self.accelerator.device)
            labels = targets(some, [VolumeChange()] * len(some)).to(self.accelerator.device)
            with self.accelerator.autocast():
                output = model(**batch, labels=labels)
            losses.append(len(some) * output.loss.item())
            found.append(self._found(output.logits.float(), labels))
        model.train()
        together = np.concatenate(found)
        loss = {"loss": sum(losses) / len(studies)}
        if self.config.task == "segmentation":
            with_lesion = together[:, 1] > 0
            dice = dice_of_counts(together[:, 0], together[:, 1], together[:, 2])
            return {**loss, "dice": float(dice[with_lesion].mean()), "dice_of_all": float(dice.mean())}
        truth = np.stack([self._truth(study) for study in studies])
        return {**loss, "auroc": mean_area(together, truth)}

    def _found(self, logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
        """What validation keeps of a batch: scores (B, K), or voxels (B, 3) shared, true and predicted."""
        if self.config.task == "classification":
            scores: np.ndarray = logits.cpu().numpy()
            return scores
        predicted, true = logits.argmax(1) > 0, labels > 0
        counts = [(predicted & true).flatten(1).sum(1), true.flatten(1).sum(1), predicted.flatten(1).sum(1)]
        return torch.stack(counts, dim=1).cpu().numpy()

    def _truth(self, study: HeadStudy) -> np.ndarray:
        """(K,) 1, 0 or -100."""
        label = np.asarray(study.label)
        return np.eye(len(self.data.names))[label] if self.config.data.is_exclusive else label

    def _environment(self) -> dict[str, Any]:
        config, model = self.config, self.bare_model
        learnt = {study.study_id for study in self.data.studies["train"]}
        return {
            **run_environment(self.accelerator, self.precision),
            "task": config.task,
            "pretrained": checkpoint_fingerprint(config.model.checkpoint),
            "weights": config.model.weights,
            "tuning": config.model.tuning,
            "training_studies": len(self.data.studies["train"]),
            "label_share": config.data.label_share,
            "left_out": self.data.left_out,
            "steps": config.optimization.steps,
            "batch_studies": config.data.batch_studies,
            "seed": config.optimization.seed,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "trainable": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            "optimizer": "AdamW",
            "learning_rate": config.optimization.learning_rate,
            "learning_rate_head": config.optimization.learning_rate_head,
            "data": data_statement(config.data.studies, study_ids=learnt),
            "pretraining_data": _pretraining_data(config),
        }


def _pretraining_data(config: FinetuneConfig) -> dict[str, Any] | None:
    """What the weights that the run starts from were trained on, where their checkpoint says so."""
    checkpoint = config.model.checkpoint
    if config.model.weights == "random" or not (checkpoint / STATE_FILE).is_file():
        return None
    data: dict[str, Any] | None = (read_state(checkpoint).environment or {}).get("data")
    return data


def finetune(config: FinetuneConfig) -> FinetuneSummary:
    """Runs or resumes a fine-tuning and returns where its best checkpoint is.

    Raises:
        FileExistsError: `config.output` holds another run.
        FileNotFoundError: The checkpoint or a table is not there.
        ValueError: The tables do not fit together, or there is nothing to learn in them.
    """
    disable_progress_bar()  # Transformers draws one for each checkpoint, across the bar of the run
    run = FinetuneRun(config)
    if run.is_main:
        facts = run.state.environment or {}
        logger.info(
            "%s of %s: %d training studies (%s left out), %d to validate on, %.2f of %.2f M parameters trained, from "
            "step %d",
            config.task,
            ", ".join(run.data.names),
            len(run.data.studies["train"]),
            run.data.left_out["train"],
            len(run.data.studies["validation"]),
            facts["trainable"] / 1e6,
            facts["parameters"] / 1e6,
            run.state.step,
        )
    run_to_end(
        run,
        config,
        run.source.batch,
        name="finetune",
        batch_size=config.data.batch_studies,
        num_workers=config.data.num_workers,
    )
    return FinetuneSummary(
        best=config.output / "best",
        metric=run.primary_metric,
        best_metric=float(run.state.best_metric or 0.0),
        best_step=run.state.best_step,
        steps=run.state.step,
        is_stopped_early=run.state.step < config.optimization.steps,
        training_studies=len(run.data.studies["train"]),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """`accelerate launch -m selip.training.finetuning.run CONFIG.yaml [--group.field value ...]`"""
    run_program(finetune, FinetuneConfig, arguments, module="selip.training.finetuning.run", command="selip finetune")


if __name__ == "__main__":
    main()
