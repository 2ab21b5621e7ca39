"""Floor and ceiling, evaluated as the arms are: the floor learns from their studies, the ceiling from all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from selip.processing.sources.studies import iter_studies, load_studies

from ..config import PretrainConfig
from ..configuration import find_config, load_config
from ..evaluate import evaluate_embedder
from ..evaluation.config import EvaluateConfig
from ..evaluation.embedding import Embedder
from ..evaluation.task import EvaluationInputs
from ..pretrain import PretrainRun
from .references import LabelEmbedder, StatisticsClassifier, true_study_texts, true_texts
from .supervised import SupervisedNetwork
from .text_labels import TextLabels

Reference = Literal["floor", "ceiling"]


def evaluate_reference(
    kind: Reference,
    output: Path,
    recipe: str,
    overrides: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
) -> None:
    """Fit a reference and write a result file for each evaluation.

    Args:
        kind: `floor`, statistics of volumes; `ceiling`, the network of the arms told true labels, and of more studies.
        output: Folder of the run.
        recipe: Shipped configuration, that of the arms.
        overrides: Options of the recipe, as the arms have them.
        evaluations: Fields of `EvaluateConfig` of what to evaluate.
    """
    options = {key: str(value) for key, value in overrides.items()} | {"output": str(output)}
    if kind == "ceiling":
        options["data.study_share"] = "1"
    run = PretrainRun(load_config(PretrainConfig, find_config(recipe), options))
    configs = [EvaluateConfig(checkpoint=output, num_figure_cases=0, **fields) for fields in evaluations]
    texts = [run.source.texts.of_series(study, row.sequence) for study in run.train_studies for row in study.series]
    labels = TextLabels(item for item in texts if item is not None)
    rows = [
        row
        for folder in sorted({config.studies for config in configs})
        for split in load_studies(folder).values()
        for row in iter_studies(split)
    ]
    truth = true_texts(rows)
    items = {item.text: item for item in (*truth.values(), *true_study_texts(rows))}
    embedder: Embedder
    if kind == "floor":
        embedder = LabelEmbedder(labels, items, StatisticsClassifier(run, labels))
    else:
        embedder = SupervisedNetwork(run, labels, truth, items)
    for config in configs:
        inputs = EvaluationInputs(config, run.processor.image_processor, embedder)
        evaluate_embedder(inputs, subject={"name": kind}, command="selip benchmark simulated")
