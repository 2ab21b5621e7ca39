"""From a table of cases to the metrics of its task, with nothing else at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases
from .detection import BOX, detection_case_metrics
from .localization import localization_case_metrics
from .mistakes import FloatArray, choice_mistakes, label_mistakes, overlap_mistakes, rank_mistakes
from .pairs import pairs_case_metrics
from .probe_metrics import probe_case_metrics
from .retrieval import retrieval_case_metrics
from .segmentation import segmentation_case_metrics
from .zero_shot_metrics import zero_shot_case_metrics


@dataclass(frozen=True)
class _Task:
    """How the cases of a task are told apart, what they give, and which are worst (None: nobody says).

    Rows of the kind `answer` are what a system said, and no cases.
    """

    keys: tuple[str, ...]
    metrics: Callable[[Cases, PatientBootstrap | None], CaseMetrics]
    mistakes: Callable[[Cases], FloatArray] | None = None
    answer: str | None = None


_TASKS = {
    "retrieval": _Task(
        ("direction", "sequence", "study_id", "series_id", "text"), retrieval_case_metrics, rank_mistakes
    ),
    "pairs": _Task(("direction", "kind", "sequence", "study_id", "partner_id"), pairs_case_metrics, choice_mistakes),
    "probe": _Task(("study_id", "label"), probe_case_metrics, partial(label_mistakes, score="score")),
    "classification": _Task(("study_id", "label"), probe_case_metrics, partial(label_mistakes, score="score")),
    "segmentation": _Task(("study_id",), segmentation_case_metrics, overlap_mistakes),
    "detection": _Task(("study_id", "kind", "number"), detection_case_metrics, answer=BOX),
    "localization": _Task(("study_id", "series_id", "lesion"), localization_case_metrics),
    "zero_shot": _Task(("study_id", "label"), zero_shot_case_metrics, partial(label_mistakes, score="margin")),
}


def recompute(task: str, cases: Cases, resampling: PatientBootstrap | None = None) -> CaseMetrics:
    """Metrics of a task from its table of cases.

    Args:
        task: Name of the task.
        cases: Columns of the table.
        resampling: Draws of the patients of its rows; None: points only.

    Raises:
        ValueError: The task keeps no table that its metrics follow from.
    """
    return _known(task).metrics(cases, resampling)


def case_keys(task: str, cases: Cases) -> list[tuple[str, ...]]:
    """What each case of a table is about, sorted: equal for two systems that were evaluated on the same cases.

    Raises:
        ValueError: The task is unknown, or a column is missing.
    """
    known = _known(task)
    keys = known.keys
    missing = [name for name in (*keys, "patient_id") if name not in cases]
    if missing:
        raise ValueError(f"expected the columns {', '.join(keys)} in a table of {task} cases, {missing} missing")
    asked = slice(None) if known.answer is None else cases["kind"] != known.answer
    columns = [cases[name][asked].astype(str) for name in (*keys, "patient_id")]
    return sorted(zip(*columns, strict=True))


def case_mistakes(task: str, cases: Cases) -> FloatArray | None:
    """How wrong each case of a table is, larger is worse; None for a task that does not say."""
    found = _TASKS.get(task)
    return None if found is None or found.mistakes is None else found.mistakes(cases)


def _known(task: str) -> _Task:
    if task not in _TASKS:
        raise ValueError(f"expected a task among {', '.join(_TASKS)}, got {task!r}")
    return _TASKS[task]
