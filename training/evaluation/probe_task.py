"""`selip evaluate --task probe`: what a linear classifier reads out of the frozen embeddings of a study.

It is asked what a study shows (its labels), and where: the places, sites with their sides, of its true findings. Much
of what is there shows in the intensities of the whole head; where it is does not.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from selip.processing.findings import StructuredReport, is_abnormal

from .embedding import series_of
from .probe import ProbeEvaluator, ProbeResult, ProbeSplit, mean_of_series
from .provenance import is_simulated
from .task import EvaluationInputs, TaskOutcome, percent_with_interval

SPLITS = ("train", "validation", "test")


def evaluate_probe(inputs: EvaluationInputs) -> TaskOutcome:
    """Linear probe fitted on the training split and scored on the test split; metrics as in `ProbeEvaluator`.

    A study's features are the mean of the embeddings of its series, each embedded alone.

    Raises:
        ValueError: A split is empty, or no label has enough studies.
    """
    config = inputs.config
    if config.split != "test":
        raise ValueError(f"expected split test (the probe is fitted on the training split), got {config.split}")
    reasons: Counter[str] = Counter()
    features: dict[str, npt.NDArray[np.float64]] = {}
    splits: dict[str, ProbeSplit] = {}
    for name in SPLITS:
        series = series_of(inputs.rows(name))
        embedded = inputs.embedder.embed_series(inputs.source(name), series)
        reasons.update(embedded.reasons)
        owners = [each.study_id for each, kept in zip(series, embedded.kept, strict=True) if kept]
        splits[name] = probe_split(inputs.studies(name), set(owners))
        features[name] = mean_of_series(embedded.embeds, owners, splits[name].study_ids)
    evaluator = ProbeEvaluator(
        *(splits[name] for name in SPLITS), bootstrap_samples=config.bootstrap_samples, seed=config.seed
    )
    result = evaluator.evaluate(*(features[name] for name in SPLITS))
    n = {
        "patients": len(set(splits["test"].patient_ids)),
        "studies": len(splits["test"].study_ids),
        "training studies": len(splits["train"].study_ids),
        "labels": len(evaluator.labels),
    }
    return TaskOutcome(
        primary_metric=evaluator.primary_metric,
        greater_is_better=evaluator.greater_is_better,
        metrics=result.metrics,
        intervals=result.intervals,
        cases=result.cases,
        n=n,
        skipped={**reasons, **evaluator.skipped},
        references={"labels": len(splits["test"].study_ids)},
        settings=evaluator.get_config_dict(),
        summary=probe_table(evaluator, result, n, is_simulated(config.studies)),
    )


def probe_split(studies: Dataset, kept: set[str]) -> ProbeSplit:
    """Ids and labels of the studies of a split that could be embedded."""
    columns = studies.select_columns(["study_id", "patient_id", "labels", "reference_findings"])
    rows = [row for row in columns if row["study_id"] in kept]
    return ProbeSplit(
        tuple(row["study_id"] for row in rows),
        tuple(row["patient_id"] for row in rows),
        tuple(frozenset(row["labels"]) | places(row["reference_findings"]) for row in rows),
    )


def places(reference_findings: str) -> frozenset[str]:
    """Where the abnormal findings are, such as `at left thalamus`; nothing for a study without true findings.

    Args:
        reference_findings: JSON of a `StructuredReport`, or empty.
    """
    if not reference_findings:
        return frozenset()
    report = StructuredReport.model_validate_json(reference_findings)
    found = [finding for finding in report.findings if is_abnormal(finding)]
    return frozenset(
        f"at {each.site}" if each.laterality == "none" else f"at {each.laterality} {each.site}" for each in found
    )


def probe_table(evaluator: ProbeEvaluator, result: ProbeResult, n: dict[str, int], is_simulated: bool) -> str:
    """Area by label as a few lines of text."""
    simulated = ", simulated studies" if is_simulated else ""
    lines = [
        f"linear probe, {n['studies']} studies of {n['patients']} patients{simulated}; area under the ROC curve in "
        "percent (chance 50), [95 % interval over patients]",
    ]
    for label in ("mean", *evaluator.labels):
        area = percent_with_interval(f"{label}/auroc", result.metrics, result.intervals)
        count = "" if label == "mean" else f"{result.metrics[f'{label}/n_positive']:.0f} with it"
        lines.append(f"{label:<32}{area:>22}  {count}".rstrip())
    return "\n".join(lines)
