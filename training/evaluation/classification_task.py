"""`selip evaluate --task classification`: the labels that a fine-tuned checkpoint gives whole studies."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from ..finetuning.labels import labels_of_table, read_labels
from .case_metrics import Cases
from .heads import HeadInputs, boxed_studies, head_logits
from .label_figures import draw_label_pictures
from .probe_metrics import probe_case_metrics
from .provenance import is_simulated
from .task import CONFIDENCE, TaskOutcome, percent_with_interval

PRIMARY_METRIC = "mean/auroc"


def evaluate_classification(inputs: HeadInputs) -> TaskOutcome:
    """Area under the ROC curve of every label of the checkpoint, and their mean, as of a probe.

    A label that all studies of the split have, or all lack, is left out and counted.

    Raises:
        ValueError: The checkpoint's labels are not those of the studies, or no label has both kinds of study.
    """
    config, model = inputs.config, inputs.model
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    columns = inputs.studies(config.split).select_columns(["study_id", "labels"])
    labels = labels_of_table(columns) if config.label_table is None else read_labels(config.label_table)
    if not set(names) & set(labels.names):
        raise ValueError(
            f"expected studies with labels of the checkpoint ({', '.join(names)}), got {', '.join(labels.names)}"
        )
    reasons: Counter[str] = Counter()
    rows, scores = [], []
    for some in batched(boxed_studies(inputs, config.split, reasons), config.batch_size):
        rows += [row for row, _ in some]
        scores.append(head_logits(model, [series for _, series in some]).numpy())
    if not rows:
        raise ValueError(f"expected at least one usable study, got none ({dict(reasons)})")
    study_ids = [row["study_id"] for row in rows]
    truth = labels.matrix(study_ids, names)
    has_both = (truth == 1).any(0) & (truth == 0).any(0)
    reasons["label with one kind of study only"] += int((~has_both).sum())
    if not has_both.any():
        raise ValueError(
            f"expected studies with and without a label in split {config.split}, got one kind only for each of "
            f"{', '.join(names)} among {len(rows)} studies"
        )
    scored = [names[k] for k in np.flatnonzero(has_both)]
    logits = np.concatenate(scores).astype(np.float64)
    is_exclusive = model.config.problem_type == "single_label_classification"
    said = softmax(logits, axis=1) if is_exclusive else expit(logits)
    cases = _cases(rows, scored, truth[:, has_both], logits[:, has_both], said[:, has_both])
    found = probe_case_metrics(cases, inputs.resampling(cases["patient_id"]))
    intervals = found.intervals(CONFIDENCE)
    simulated = is_simulated(config.studies)
    draw = partial(
        draw_label_pictures,
        cases=cases,
        score="score",
        metrics=found.points,
        intervals=intervals,
        bootstrap_samples=config.bootstrap_samples,
        seed=config.seed,
        heading=f"labels of a fine-tuned head{' (simulated studies)' if simulated else ''}",
    )
    patients = len({row["patient_id"] for row in rows})
    n = {"patients": patients, "studies": len(rows), "labels": int(has_both.sum())}
    return TaskOutcome(
        primary_metric=PRIMARY_METRIC,
        greater_is_better=True,
        metrics=found.points,
        intervals=intervals,
        cases=cases,
        n=n,
        skipped={reason: count for reason, count in reasons.items() if count},
        references={"labels" if config.label_table is None else "label table": len(rows)},
        settings={
            "task": "classification",
            "labels": scored,
            "input": "all series of a study",
            "probability": f"{'softmax' if is_exclusive else 'sigmoid'} of the scores",
            **inputs.interval_settings,
        },
        summary=_table(found.points, intervals, n, simulated),
        draw=draw,
    )


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of `size`, the last one shorter (`itertools.batched` of Python 3.12)."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _cases(
    rows: list[Any], names: list[str], truth: np.ndarray, scores: np.ndarray, probabilities: np.ndarray
) -> Cases:
    """One row a study and label that is known."""
    known = (truth >= 0).ravel()
    repeat = {
        key: np.repeat(np.array([row[key] for row in rows], dtype=object), len(names))
        for key in ("study_id", "patient_id")
    }
    columns = {
        **repeat,
        "label": np.tile(np.array(names, dtype=object), len(rows)),
        "positive": truth.ravel() == 1,
        "score": scores.ravel(),
        "probability": probabilities.ravel(),
    }
    return {name: values[known] for name, values in columns.items()}


def _table(points: dict[str, float], intervals: Any, n: dict[str, int], simulated: bool) -> str:
    kind = ", simulated studies" if simulated else ""
    lines = [
        f"classification, {n['studies']} studies of {n['patients']} patients{kind}; area under the ROC curve in "
        "percent (chance 50), [95 % interval over patients]"
    ]
    for name in points:
        if name.endswith("/auroc"):
            label = name.removesuffix("/auroc")
            count = "" if label == "mean" else f"{points[f'{label}/n_positive']:.0f} with it"
            lines.append(f"{label:<32}{percent_with_interval(name, points, intervals):>22}  {count}".rstrip())
    return "\n".join(lines)
