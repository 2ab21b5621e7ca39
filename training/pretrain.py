"""Contrastive pretraining: the explicit loop.

One process        selip pretrain CONFIG.yaml
Several            accelerate launch -m selip.training.pretrain CONFIG.yaml
A try on a laptop  selip demo

What a batch is stands in data.py, its loss and gradient over all processes in contrastive.py; here they are put to
work, validated, saved and resumed. docs/scaling.md has launch commands for several GPUs and machines.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from selip.modeling_selip.loss_selip import compared_pairs, scale_of
from selip.modeling_selip.modeling_selip import SelipModel
from selip.processing.findings_table import load_findings
from selip.processing.sources.data_statement import data_statement
from selip.processing.sources.studies import load_studies

from .checkpoint import TrainingState, load_checkpoint
from .config import PretrainConfig
from .contrastive import ContrastiveGradient
from .data import BatchSource, StudyTexts, choose_studies, read_studies
from .initialization import initialise_from_data
from .network import build_model, build_processor
from .objectives import load_objective, target_statistics
from .optimization import build_optimizer
from .program import run_program
from .run import TrainingRun, run_to_end
from .run_folder import describe_environment
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


class PretrainRun(TrainingRun[SelipModel]):
    """Everything a run is made of, built from its configuration, resumed where `last` stands."""

    primary_metric = PRIMARY_METRIC

    def __init__(self, config: PretrainConfig):
        self.config = config
        self.objective = load_objective(config.optimization.objective)
        super().__init__(config)
        self._load_data()
        self._build()

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
        self.drop_unsaved_lines()
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
        facts = describe_environment(accelerator, self.precision, config)
        if self.is_main:
            learnt = self.source.studies.keys()
            facts["data"] = data_statement(config.data.studies, config.data.findings, study_ids=learnt)
        self.state = replace(self.state, environment=facts)

    def step(self, batch: dict) -> dict[str, float]:
        """One optimiser step on one global batch."""
        device = self.accelerator.device
        similarity = batch["similarity"].to(device)
        compared = compared_pairs(batch["text_study"], batch["text_mask"]).to(device)
        loss = self.gradient(batch["inputs"], compared, similarity, step=self.state.step)
        line = self.take_step(loss)
        factor = line.pop("learning_rate_factor")
        return {
            **line,
            "learning_rate": self.config.optimization.learning_rate_vision * factor,
            "logit_scale": scale_of(self.bare_model.logit_scale.detach()).item(),
            **target_statistics(similarity, compared),
        }

    def measure(self) -> dict[str, float]:
        """Retrieval on the validation split."""
        with self.accelerator.autocast():
            return self.validation(self.bare_model)


def pretrain(config: PretrainConfig) -> PretrainSummary:
    """Runs or resumes a pretraining and returns where its best checkpoint is.

    Raises:
        FileExistsError: `config.output` holds another run.
        ValueError: the tables do not fit together, or the configuration is wrong.
    """
    disable_progress_bar()  # Transformers draws one for each checkpoint, across the bar of the run
    run = PretrainRun(config)
    if run.is_main:
        _tell_start(run)
    done = run_to_end(
        run,
        config,
        run.source.batch,
        name="pretrain",
        batch_size=config.data.batch_studies,
        num_workers=config.data.num_workers,
    )
    volumes = done.steps * config.data.batch_studies * config.data.series_per_study
    return PretrainSummary(
        best=config.output / "best",
        best_metric=float(run.state.best_metric or 0.0),
        best_step=run.state.best_step,
        steps=run.state.step,
        volumes_per_second=volumes / done.training_seconds if done.training_seconds else 0.0,
        data_wait_share=done.wait_share,
    )


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


def main(arguments: Sequence[str] | None = None) -> None:
    """`accelerate launch -m selip.training.pretrain CONFIG.yaml [--group.field value ...]`"""
    run_program(pretrain, PretrainConfig, arguments, module="selip.training.pretrain", command="selip pretrain")


if __name__ == "__main__":
    main()
