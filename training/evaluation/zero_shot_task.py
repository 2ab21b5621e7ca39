"""`selip evaluate --task zero_shot --protocol NAME`: labels of studies by the nearness of prompts."""

from collections.abc import Mapping, Sequence
from functools import partial

from datasets import Dataset

from selip.processing.findings import StructuredReport, is_abnormal

from ..configuration import nearest
from .label_figures import draw_label_pictures
from .metrics import unit_rows
from .probe import mean_of_series
from .provenance import is_simulated
from .series_source import series_of
from .task import EvaluationInputs, TaskOutcome, percent_with_interval
from .zero_shot import LabelledStudies, ZeroShotEvaluator, ZeroShotResult
from .zero_shot_protocol import ZeroShotLabel, ZeroShotProtocol, load_protocol


def evaluate_zero_shot(inputs: EvaluationInputs) -> TaskOutcome:
    """Zero-shot classification of the studies of one split; metrics as in `ZeroShotEvaluator`.

    Raises:
        FileNotFoundError: There is no such protocol.
        ValueError: No protocol is named, no study of the table has one of its labels, or too few of the split have.
    """
    config = inputs.config
    if config.protocol is None:
        raise ValueError("expected --protocol NAME or FILE.yaml for the task zero_shot, got none")
    protocol = load_protocol(config.protocol)
    if config.labels:
        protocol = protocol.only(config.labels)
    studies = inputs.studies(config.split)
    check_labels(protocol, {label for split in inputs.splits.values() for row in split["labels"] for label in row})
    series = series_of(inputs.rows(config.split))
    embedded = inputs.embedder.embed_series(inputs.source(config.split), series)
    owners = [each.study_id for each, kept in zip(series, embedded.kept, strict=True) if kept]
    labelled = labelled_studies(studies, set(owners), protocol.labels)
    evaluator = ZeroShotEvaluator(protocol, labelled, bootstrap_samples=config.bootstrap_samples, seed=config.seed)
    result = evaluator.evaluate(
        mean_of_series(unit_rows(embedded.embeds), owners, labelled.study_ids),
        inputs.embedder.embed_texts(evaluator.texts),
        inputs.embedder.scale,
    )
    simulated = is_simulated(config.studies)
    kept = set(evaluator.studies.study_ids)
    n = {
        "patients": len(set(evaluator.studies.patient_ids)),
        "studies": len(kept),
        "series": sum(owner in kept for owner in owners),
        "texts": len(evaluator.texts),
        "labels": len(evaluator.labels),
    }

    draw = partial(
        draw_label_pictures,
        cases=result.cases,
        score="margin",
        metrics=result.metrics,
        intervals=result.intervals,
        bootstrap_samples=config.bootstrap_samples,
        seed=config.seed,
        heading=f"zero-shot, protocol {protocol.name}{' (simulated studies)' if simulated else ''}",
    )
    return TaskOutcome(
        primary_metric=evaluator.primary_metric,
        greater_is_better=evaluator.greater_is_better,
        metrics=result.metrics,
        intervals=result.intervals,
        cases=result.cases,
        n=n,
        skipped={**embedded.reasons, **evaluator.skipped},
        references={"labels": len(kept)},
        settings={**evaluator.get_config_dict(), "scale": inputs.embedder.scale},
        summary=zero_shot_table(evaluator, result, n, simulated),
        draw=draw,
    )


def check_labels(protocol: ZeroShotProtocol, known: set[str]) -> None:
    """Check that every label of a protocol is one of a studies table.

    Args:
        protocol: What is asked.
        known: The labels that any study has.

    Raises:
        ValueError: One is not; the message names the nearest.
    """
    if not known:
        raise ValueError(
            "expected labels in the studies table, but no study has one; zero_shot needs the column labels filled"
        )
    names = [label.name for label in protocol.labels]
    lacking = [name for name in names if name not in known]
    if lacking:
        there = [name for name in names if name in known]
        way_out = f'; to leave it out, say --labels "{",".join(there)}"' if there else ""
        raise ValueError(
            f"expected studies with every label of the protocol {protocol.name}, no study of any split has "
            f"{', '.join(map(repr, lacking))}{nearest(lacking[0], sorted(known))}{way_out}"
        )


def labelled_studies(studies: Dataset, kept: set[str], labels: Sequence[ZeroShotLabel]) -> LabelledStudies:
    """Ids, labels and sides of the studies that could be embedded."""
    columns = studies.select_columns(["study_id", "patient_id", "labels", "reference_findings"])
    rows = [row for row in columns if row["study_id"] in kept]
    return LabelledStudies(
        tuple(row["study_id"] for row in rows),
        tuple(row["patient_id"] for row in rows),
        tuple(frozenset(row["labels"]) for row in rows),
        tuple(sides_of(row["reference_findings"], labels) for row in rows),
    )


def sides_of(reference_findings: str, labels: Sequence[ZeroShotLabel]) -> dict[str, str]:
    """The side, left or right, of each label whose true findings are all on it; other labels are not there.

    Args:
        reference_findings: JSON of a `StructuredReport`, or empty.
        labels: Labels with their finding terms.
    """
    if not reference_findings:
        return {}
    findings = filter(is_abnormal, StructuredReport.model_validate_json(reference_findings).findings)
    sides: dict[str, set[str]] = {}
    for finding in findings:
        sides.setdefault(finding.finding, set()).add(finding.laterality)
    found = {label.name: set().union(*(sides.get(term, set()) for term in label.findings)) for label in labels}
    return {name: next(iter(each)) for name, each in found.items() if each in ({"left"}, {"right"})}


def zero_shot_table(
    evaluator: ZeroShotEvaluator, result: ZeroShotResult, n: Mapping[str, int], is_simulated: bool
) -> str:
    """The main numbers as a few lines of text, percentages with their intervals."""
    metrics, intervals = result.metrics, result.intervals
    simulated = ", simulated studies" if is_simulated else ""
    lines = [
        f"zero-shot, protocol {evaluator.protocol.name}, {n['studies']} studies of {n['patients']} patients{simulated}"
        "; percent, [95 % interval over patients]",
        f"{'':<32}{'area under ROC':>22}{'precision-recall':>18}{'chance':>8}{'polarity':>22}{'side':>7}"
        f"{'p (Holm)':>10}{'with it':>9}",
    ]
    for label in ("macro", *(each.name for each in evaluator.labels)):
        side = metrics.get("all/laterality" if label == "macro" else f"{label}/laterality")
        is_label = label != "macro"
        lines.append(
            f"{label if is_label else 'mean':<32}{percent_with_interval(f'{label}/auroc', metrics, intervals):>22}"
            f"{100 * metrics[f'{label}/auprc']:>18.1f}{100 * metrics[f'{label}/prevalence']:>8.1f}"
            f"{percent_with_interval(f'{label}/polarity', metrics, intervals):>22}"
            f"{'' if side is None else f'{100 * side:.1f}':>7}"
            + (f"{metrics[f'{label}/p_holm']:>10.4f}{metrics[f'{label}/n_positive']:>9.0f}" if is_label else "")
        )
    lines.append(
        f"single templates: mean area {100 * metrics['templates/auroc_min']:.1f} to "
        f"{100 * metrics['templates/auroc_max']:.1f}; expected calibration error {metrics['macro/ece']:.3f}"
    )
    for key in metrics:
        if key.startswith("choice/") and key.endswith("/balanced_accuracy"):
            name = key.split("/")[1]
            lines.append(
                f"{name}: balanced accuracy {percent_with_interval(key, metrics, intervals)}, "
                f"{metrics[f'choice/{name}/n']:.0f} studies"
            )
    # not by the interval of polarity: where none of six is right, every draw of them says so
    names = [each.name for each in evaluator.labels]
    reversed_labels = [name for name in names if metrics[f"{name}/auroc"] < 0.5 and metrics[f"{name}/p_holm"] < 0.05]
    if reversed_labels:
        lines.append(f'REVERSED, "no X" is nearer where X is: {", ".join(reversed_labels)}')
    if evaluator.left_out:
        lines.append(f"left out, too few studies with or without: {', '.join(evaluator.left_out)}")
    return "\n".join(lines)
