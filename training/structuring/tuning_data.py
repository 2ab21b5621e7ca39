"""What a structurer is tuned on and watched on: pseudo reports, and a group's own reports beside them."""

import hashlib
from dataclasses import dataclass

from tqdm import tqdm

from selip.processing.compact_findings import compact
from selip.processing.findings import Finding
from selip.processing.vocabulary import load_terms

from .config import TuneConfig
from .examples import BatchOrder, build_examples
from .models import load_tokenizer
from .prompt import INSTRUCTION, ReportPrompt, report_message
from .pseudo_reports import LabelledReport, iter_pseudo_reports
from .report_files import read_report_files
from .scratch import train_chat_tokenizer

VALIDATION_SEED = 500_000_000
"""Added to the seed of the pseudo reports that F1 is watched on: other patients, other draws."""


@dataclass(frozen=True)
class TuningReports:
    """Reports of a run.

    Attributes:
        training: each as often as an epoch has it.
        validation: those that F1 is watched on.
        group_reports: how many of a group's own are in `training`, each counted once.
    """

    training: list[LabelledReport]
    validation: list[LabelledReport]
    group_reports: int


def read_tuning_data(config: TuneConfig, *, show_progress: bool) -> TuningReports:
    """Make the pseudo reports and read the group's own."""
    data, seed = config.data, config.optimization.seed
    group = read_report_files(data.group_data)
    watched = [report for report in group if _fraction(report.id) < data.group_validation]
    trained = [report for report in group if _fraction(report.id) >= data.group_validation]
    made = tqdm(
        iter_pseudo_reports(data.pseudo_reports, seed=seed, language=data.language),
        total=data.pseudo_reports,
        desc="pseudo reports",
        unit="report",
        disable=None if show_progress else True,
    )
    held_out = iter_pseudo_reports(data.validation_reports, seed=seed + VALIDATION_SEED, language=data.language)
    validation = [*held_out, *watched]
    if not validation:
        raise ValueError("expected reports to watch F1 on, got none: too few group reports for group_validation")
    return TuningReports([*made, *(trained * data.group_repeats)], validation, len(trained))


def _fraction(report_id: str) -> float:
    """A number in [0, 1) that depends on the id alone, so that a report does not change sides as others are added."""
    return int.from_bytes(hashlib.sha256(report_id.encode()).digest()[:8], "big") / 2**64


def build_prompt(config: TuneConfig, data: TuningReports) -> ReportPrompt:
    """How the model is asked: with the tokenizer of its base, or with one trained on the training reports."""
    model = config.model
    instruction = INSTRUCTION if config.data.instruction is None else config.data.instruction
    if model.base is not None:
        return ReportPrompt(load_tokenizer(model.base), instruction)
    texts = [
        text for report in data.training for text in (report_message(report.text), compact(report.target.findings))
    ]
    context = int(model.architecture.get("max_position_embeddings", config.data.max_tokens))
    tokenizer = train_chat_tokenizer(
        [*texts, *_every_term()], vocabulary_size=model.vocabulary_size, max_tokens=context
    )
    return ReportPrompt(tokenizer, instruction)


def _every_term() -> list[str]:
    """Answers with every term of the schema, so that the tokenizer knows those that no pseudo report has."""
    terms = load_terms()
    return [
        *(compact([Finding(finding=term, site="brain")]) for term in terms.findings),
        *(compact([Finding(finding="normal", site=term)]) for term in terms.sites),
        *(compact([Finding(finding="normal", site="brain", morphology=[term])]) for term in terms.morphology),
    ]


class TuningSet:
    """Examples of the training reports and their order."""

    def __init__(self, data: TuningReports, prompt: ReportPrompt, config: TuneConfig):
        self.examples, self.left_out = build_examples(data.training, prompt, config.data.max_tokens)
        self.order = BatchOrder(
            [example.length for example in self.examples],
            batch_size=config.optimization.batch_reports,
            seed=config.optimization.seed,
        )
