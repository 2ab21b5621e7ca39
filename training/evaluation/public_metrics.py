"""Metrics as classes of the library `evaluate`, for whoever has embeddings or findings and no SeLIP checkpoint.

    RetrievalRecall().compute(predictions=image_embeds, references=text_embeds)
    FindingF1().compute(predictions=reports, references=gold_reports)
    Polarity().compute(predictions=margins, references=has_finding)

They are thin: what they compute are the functions that `selip evaluate` computes with. They need no network, also
where `evaluate.load` would.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from pydantic import ValidationError

from selip.processing.findings import StructuredReport

from .metrics import retrieval_metrics
from .structuring_metrics import score_reports
from .structuring_score import report_tallies

_RETRIEVAL_CITATION = "Radford et al. 2021, arXiv 2103.00020 (retrieval between paired embeddings)"
_VECTORS = datasets.Sequence(datasets.Value("float32"))


class RetrievalRecall(evaluate.Metric):
    """Recall@1, 5, 10, median rank and mean reciprocal rank between paired embeddings, both directions.

    `predictions` (N, E) are embeddings of images, `references` (N, E) those of their texts, in the same order.
    `compute(..., groups=...)` with N names keeps candidates to the query's own group, e.g. its MRI sequence;
    `compute(..., same=...)` with N names makes texts of one name right for all images of it, e.g. equal reports.
    Ties count against the model.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=str(self.__doc__),
            citation=_RETRIEVAL_CITATION,
            inputs_description="predictions: image embeddings (N, E); references: text embeddings (N, E)",
            features=datasets.Features({"predictions": _VECTORS, "references": _VECTORS}),
        )

    def _compute(
        self,
        predictions: Sequence[Sequence[float]],
        references: Sequence[Sequence[float]],
        groups: Sequence[Any] | None = None,
        same: Sequence[Any] | None = None,
    ) -> dict[str, float]:
        count = len(predictions)
        for name, values in (("groups", groups), ("same", same)):
            if values is not None and len(values) != count:
                raise ValueError(f"expected {name} with {count} names, one for each pair, got {len(values)}")
        hits = np.eye(count, dtype=bool)
        if same is not None:
            names = np.asarray(same)
            hits |= names[:, None] == names[None, :]
        return retrieval_metrics(predictions, references, hits, np.zeros(count) if groups is None else groups)


class FindingF1(evaluate.Metric):
    """Micro F1, precision and recall of findings: entries with equal finding, side and certainty at the same site.

    `predictions` and `references` are JSON texts of `StructuredReport`, report by report; a prediction that does not
    follow the schema counts as one without findings. Pairing and groups as in the annotation guide of the gold sets
    (`selip.training.evaluation.structuring_score`).
    """

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=str(self.__doc__),
            citation="",
            inputs_description="predictions, references: JSON of a StructuredReport each",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        golds = [StructuredReport.model_validate_json(text) for text in references]
        tallies = [report_tallies(gold, _valid(text), "") for gold, text in zip(golds, predictions, strict=True)]
        metrics, _ = score_reports(tallies, [str(n) for n in range(len(golds))], bootstrap_samples=0, seed=0)
        kept = ("finding", "without_normal", "present", "hedged", "absent")
        found = {name: value for name, value in metrics.items() if name.split("/")[0] in kept}
        return {**found, "valid/share": metrics["valid/share"]}


class Polarity(evaluate.Metric):
    """Whether "X" beats "no X" where X is there, and the reverse where it is not.

    `predictions` (N,) are margins, the score of the positive prompt less that of the negative one; `references`
    (N,) say whether the finding is there. `positive`: share of studies with it whose margin is above 0; `negative`:
    share of those without it whose margin is below 0; `polarity`: their mean, 0.5 for a model that ignores the
    "no". Ties are wrong. NaN where there is no study of the kind.
    """

    def _info(self) -> evaluate.MetricInfo:
        kinds = {"predictions": datasets.Value("float64"), "references": datasets.Value("bool")}
        return evaluate.MetricInfo(
            description=str(self.__doc__),
            citation="",
            inputs_description="predictions: margins (N,); references: whether the finding is there (N,)",
            features=datasets.Features(kinds),
        )

    def _compute(self, predictions: Sequence[float], references: Sequence[bool]) -> dict[str, float]:
        margins, is_there = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=bool)
        positive = float(np.mean(margins[is_there] > 0)) if is_there.any() else float("nan")
        negative = float(np.mean(margins[~is_there] < 0)) if (~is_there).any() else float("nan")
        return {"positive": positive, "negative": negative, "polarity": (positive + negative) / 2}


def _valid(text: str) -> StructuredReport | None:
    try:
        return StructuredReport.model_validate_json(text)
    except ValidationError:
        return None
