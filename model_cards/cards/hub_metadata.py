"""The YAML head of a card, and result entries as the Hub reads them: `model-index` and `.eval_results/*.yaml`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import (
    DatasetCardData,
    EvalResult,
    EvalResultEntry,
    ModelCardData,
    eval_result_entries_to_yaml,
)

from selip.processing.atomic_files import replacing

from .results import CardResult
from .terms import InheritedLicence

EVAL_RESULTS_FOLDER = ".eval_results"
# Kind of task by the words of the Hub; its own name where the Hub has none.
_HUB_TASKS = {
    "zero_shot": "zero-shot-image-classification",
    "probe": "image-classification",
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
    "structuring": "text-generation",
}


def licence_fields(licence: InheritedLicence) -> dict[str, Any]:
    """Fields of a card's YAML for a licence."""
    fields = {
        "license": licence.licence,
        "license_name": licence.licence_name,
        "license_link": licence.licence_link,
    }
    return {name: value for name, value in fields.items() if value is not None}


def front_matter(data: ModelCardData | DatasetCardData) -> str:
    """The YAML head of a card, between its two lines of dashes."""
    return f"---\n{data.to_yaml()}\n---"


def model_index(
    name: str, results: Sequence[CardResult], benchmark: str | None = None, *, kind: str = "evaluation"
) -> dict[str, Any]:
    """Fields of a card's YAML for `model-index`: the headline of each evaluation, on the scale 0 to 1.

    Args:
        name: Name of the model.
        results: Result files; those under a control or with hidden sequences, and of another kind, have no headline.
        benchmark: Hub id of the data set that they are of, None where it has none.
        kind: `evaluation` of a checkpoint, `structuring` of a structurer.
    """
    entries = [
        EvalResult(
            task_type=_HUB_TASKS.get(record["task"], record["task"]),
            task_name=record["task"].replace("_", " "),
            dataset_type=benchmark or ("selip-simulated" if record.get("simulated") else "local"),
            dataset_name=_dataset_name(record, benchmark),
            dataset_split=record.get("data", {}).get("split") or None,
            metric_type=record["primary_metric"].rpartition("/")[2],
            metric_name=record["primary_metric"],
            metric_value=record["metrics"][record["primary_metric"]],
            metric_args=_interval_args(record),
        )
        for record in _headlines(results, kind)
    ]
    return {"model_name": name, "eval_results": entries} if entries else {}


def write_eval_results(
    folder: Path, results: Sequence[CardResult], benchmark: str, tasks: Mapping[str, str]
) -> Path | None:
    """Write `.eval_results/NAME.yaml` of a model repository.

    Args:
        folder: The repository.
        results: Result files.
        benchmark: Hub id of the benchmark, ORGANISATION/NAME.
        tasks: Ids of its tasks by our names of them; a task that is not there has the same name.

    Returns:
        The file; None where no result has a headline.

    Raises:
        ValueError: Two results are of one task.
    """
    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=tasks.get(record["task"], record["task"]),
            value=record["metrics"][record["primary_metric"]],
            date=str(record.get("environment", {}).get("date", ""))[:10] or None,
            notes=_notes(record),
        )
        for record in _headlines(results, "evaluation")
    ]
    ids = [entry.task_id for entry in entries]
    if len(set(ids)) != len(ids):
        raise ValueError(f"expected one result for each task of {benchmark}, got {', '.join(ids)}; give one of each")
    if not entries:
        return None
    path = folder / EVAL_RESULTS_FOLDER / f"{benchmark.rpartition('/')[2]}.yaml"
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as partial:
        text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=110)
        partial.write_text(text, encoding="utf-8")
    return path


def _headlines(results: Sequence[CardResult], kind: str) -> list[Mapping[str, Any]]:
    """Records of plain evaluations that have a headline."""
    chosen = []
    for result in results:
        record = result.record
        settings = record.get("settings", {})
        is_plain = settings.get("control", "none") == "none" and settings.get("sequences", "all") == "all"
        has_value = record.get("metrics", {}).get(record.get("primary_metric")) is not None
        if result.kind == kind and is_plain and has_value:
            chosen.append(record)
    return chosen


def _dataset_name(record: Mapping[str, Any], benchmark: str | None) -> str:
    fingerprint = str(record.get("data", {}).get("studies_fingerprint", ""))[:12]
    if benchmark is not None:
        return benchmark
    name = "simulated head MRI studies" if record.get("simulated") else "head MRI studies"
    return f"{name} ({fingerprint})" if fingerprint else name


def _interval_args(record: Mapping[str, Any]) -> dict[str, Any]:
    ends = record["intervals"].get(record["primary_metric"])
    args: dict[str, Any] = {"n": dict(record["n"])}
    return args if ends is None or None in ends else {"interval_95": list(ends), **args}


def _notes(record: Mapping[str, Any]) -> str:
    """Metric, scale, direction, interval, number of cases."""
    name = record["primary_metric"]
    direction = "higher" if record.get("greater_is_better", True) else "lower"
    ends = record["intervals"].get(name)
    interval = "" if ends is None or None in ends else f"; 95 % interval {ends[0]:.3f} to {ends[1]:.3f} over patients"
    n = record["n"]
    kind = "simulated studies" if record.get("simulated") else "studies"
    return (
        f"{name}; scale 0 to 1, {direction} is better{interval}; n = {n['studies']} {kind} of {n['patients']} patients"
    )
