"""`selip evaluate STRUCTURER DATASET --task structuring`: a structurer against gold findings.

    selip evaluate rules gold.jsonl --task structuring --html gold.html

Beside OUT.json stands OUT.cases.parquet: the tallies of each report by id, from which every score can be recomputed.
"""

import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selip.processing.annotation.gold import GoldReport, read_gold
from selip.processing.findings import StructuredReport, is_abnormal
from selip.processing.row_files import ROW_FILES
from selip.processing.sources.studies import iter_studies, studies_fingerprint
from selip.processing.structurer import ReportText

from .provenance import environment, is_simulated
from .result_file import FORMAT_VERSION, ResultRecord, command_line, write_cases, write_result
from .structuring_config import StructuringEvaluateConfig
from .structuring_confusions import Fault, confusion_table, find_faults
from .structuring_metrics import score_reports
from .structuring_predictions import Predictions, predict
from .structuring_score import FIELDS, Pair, match_findings, report_tallies
from .task import percent_with_interval

logger = logging.getLogger(__name__)

# Ids of reports that `selip pseudo-reports` writes.
PSEUDO_ID = re.compile(r"pseudo-(training|held-out|simple)-\d+-\d+$")
# Reports that the structurer read itself, and those that another one read in its place.
FALLBACK_GROUPS = {"own/": "finding, as asked", "fallback/": "finding, fallback"}


@dataclass(frozen=True)
class JudgedReport:
    """A report with gold and predicted findings, and what is wrong with the latter.

    `prediction` is None where there is no valid one, then `reason` says why. `is_fallback`: another structurer read it
    in the place of the one that had been asked.
    """

    gold: GoldReport
    prediction: StructuredReport | None
    reason: str
    pairs: list[Pair]
    faults: list[Fault]
    tallies: dict[str, float]
    is_fallback: bool = False


def evaluate_structuring(config: StructuringEvaluateConfig) -> tuple[ResultRecord, list[JudgedReport]]:
    """Judge a structurer and write the result file.

    Returns:
        Content of the result file: as of other tasks, with `structurer` (name, version) in place of `checkpoint`,
        `invalid` (reports without valid findings by reason) and `confusions` (see `confusion_table`); metrics as in
        `structuring_metrics.ratios`, also for each language under `LANGUAGE/`, where gold reports have weights
        weighted under `weighted/`, where some reports fell back to another structurer under `own/` and `fallback/`;
        and `speed/reports_per_second`. And the reports, each with its faults.

    Raises:
        FileExistsError: There is a result already and `overwrite` is False.
        FileNotFoundError: The structurer or the gold findings are not there.
        ValueError: The gold findings or the file of predictions cannot be read, or there are none.
    """
    out = config.result_path
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; choose another --out, or say --overwrite")
    golds = _half(read_gold_reports(config.dataset, config.split), config.half)
    predictions = predict(config.structurer, {gold.id: gold.text for gold in golds}, base=config.base)
    is_table = config.dataset.is_dir()
    found = [abnormal_only(one) for one in predictions.reports] if is_table else predictions.reports
    judged = [
        replace(judge(gold, one), is_fallback=place in predictions.fallbacks)
        for place, (gold, one) in enumerate(zip(golds, found, strict=True))
    ]
    metrics, intervals = _scores(judged, config)
    if predictions.seconds and metrics["valid/share"]:
        metrics["speed/reports_per_second"] = len(golds) / predictions.seconds
    out.parent.mkdir(parents=True, exist_ok=True)
    files = {"cases": write_cases(_cases(judged), out.with_suffix(".cases.parquet"))}
    languages = Counter(gold.text.language for gold in golds)
    n = {
        "patients": len({gold.patient_id for gold in golds}),
        "studies": len(golds),
        "findings": int(metrics["finding/n_gold"]),
        **{f"studies_{language}": count for language, count in sorted(languages.items())},
    }
    record = ResultRecord(
        {
            "format_version": FORMAT_VERSION,
            "task": config.task,
            "primary_metric": "finding/f1",
            "greater_is_better": True,
            "metrics": metrics,
            "intervals": {name: list(ends) for name, ends in intervals.items()},
            "n": n,
            "skipped": {},
            "invalid": dict(Counter(one.reason for one in judged if one.prediction is None)),
            "simulated": is_simulated(config.dataset) if is_table else all(PSEUDO_ID.match(gold.id) for gold in golds),
            "settings": {
                "bootstrap_samples": config.bootstrap_samples,
                "seed": config.seed,
                "split": config.split if is_table else None,
                "half": config.half,
                "judged_findings": "abnormal" if is_table else "all",
                "unused_predictions": predictions.unused,
            },
            "command": command_line(config),
            "structurer": {"name": predictions.name, "version": predictions.version},
            "fallbacks": len(predictions.fallbacks),
            "data": _described_data(config),
            "environment": environment(),
            "confusions": confusion_table((one.gold.id, fault) for one in judged for fault in one.faults),
            "files": files,
        },
        _summary(metrics, intervals, n, predictions),
    )
    write_result(record, out)
    logger.info("wrote %s", out)
    return record, judged


def read_gold_reports(dataset: Path, split: str) -> list[GoldReport]:
    """Gold findings of a file, or the true ones of a split of a studies table; studies without them are left out.

    Raises:
        FileNotFoundError: The file or table is not there.
        ValueError: It cannot be read, or no study has true findings.
    """
    if dataset.suffix in ROW_FILES:
        return read_gold(dataset)
    golds = [
        GoldReport(
            study["study_id"],
            _report_text(study),
            StructuredReport.model_validate_json(study["reference_findings"]),
            study["patient_id"],
        )
        for study in iter_studies(dataset, split)
        if study["reference_findings"]
    ]
    if not golds:
        raise ValueError(
            f"expected gold findings (.jsonl), or a studies table with true findings in split {split}; {dataset} has "
            "none"
        )
    return golds


def _half(golds: list[GoldReport], half: str) -> list[GoldReport]:
    chosen = golds if half == "both" else golds[{"even": 0, "odd": 1}[half] :: 2]
    if not chosen:
        raise ValueError(f"expected gold reports in the {half} half, got none")
    return chosen


def abnormal_only(found: StructuredReport | str) -> StructuredReport | str:
    """What true findings of a study can judge: they tell what it shows, not what a report denies or calls normal."""
    if isinstance(found, str):
        return found
    return found.model_copy(update={"findings": [finding for finding in found.findings if is_abnormal(finding)]})


def judge(gold: GoldReport, found: StructuredReport | str) -> JudgedReport:
    """One report's findings against its gold findings."""
    prediction = None if isinstance(found, str) else found
    predicted = [] if prediction is None else prediction.findings
    pairs = match_findings(gold.report.findings, predicted)
    return JudgedReport(
        gold=gold,
        prediction=prediction,
        reason=found if isinstance(found, str) else "",
        pairs=pairs,
        faults=find_faults(gold.report.findings, predicted, pairs, gold.whole_text),
        tallies=report_tallies(gold.report, prediction, gold.whole_text),
    )


def _report_text(study: Mapping[str, Any]) -> ReportText:
    sections = study["report"] or {}
    return ReportText(sections.get("findings") or "", sections.get("impression") or "", study["language"])


def _scores(
    judged: Sequence[JudgedReport], config: StructuringEvaluateConfig
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Scores of all reports, and of groups of them where there are several."""
    languages = sorted({one.gold.text.language for one in judged})
    groups = {"": list(judged)}
    if len(languages) > 1:
        groups |= {f"{name}/": [one for one in judged if one.gold.text.language == name] for name in languages}
    if len({one.is_fallback for one in judged}) > 1:
        groups |= {
            prefix: [one for one in judged if one.is_fallback == (prefix == "fallback/")] for prefix in FALLBACK_GROUPS
        }
    if len({one.gold.weight for one in judged}) > 1:
        groups["weighted/"] = list(judged)
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for prefix, reports in groups.items():
        weights = [one.gold.weight if prefix == "weighted/" else 1.0 for one in reports]
        values, ends = score_reports(
            [
                {name: value * w for name, value in one.tallies.items()}
                for one, w in zip(reports, weights, strict=True)
            ],
            [one.gold.patient_id for one in reports],
            bootstrap_samples=config.bootstrap_samples,
            seed=config.seed,
        )
        metrics |= {prefix + name: value for name, value in values.items()}
        intervals |= {prefix + name: value for name, value in ends.items()}
    return metrics, intervals


def _weighted(one: JudgedReport) -> dict[str, float]:
    return {name: one.gold.weight * value for name, value in one.tallies.items()}


def _cases(judged: Sequence[JudgedReport]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "study_id": [one.gold.id for one in judged],
        "patient_id": [one.gold.patient_id for one in judged],
        "language": [one.gold.text.language for one in judged],
        "weight": [one.gold.weight for one in judged],
        "reason": [one.reason for one in judged],
    }
    return columns | {name: [one.tallies[name] for one in judged] for name in judged[0].tallies}


def _described_data(config: StructuringEvaluateConfig) -> dict[str, Any]:
    if config.dataset.is_dir():
        return {
            "split": config.split,
            "studies_fingerprint": studies_fingerprint(config.dataset),
            "reference_findings": "truth",
        }
    with config.dataset.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": config.dataset.name, "sha256": digest, "reference_findings": "gold"}


def _summary(
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    n: Mapping[str, int],
    predictions: Predictions,
) -> str:
    """The main numbers as a few lines of text."""
    languages = [name.removeprefix("studies_") for name in n if name.startswith("studies_")]
    lines = [
        f"structurer {predictions.name} {predictions.version}".rstrip()
        + f" on {n['studies']} reports of {n['patients']} patients, {n['findings']} gold findings; percent, "
        "[95 % interval over patients]",
        f"{'':<22}{'F1':>22}{'precision':>22}{'recall':>22}{'gold':>7}",
    ]
    rows = [(name, name) for name in ("finding", "without_normal", "present", "hedged", "absent")]
    rows += [(f"finding, {name}", f"{name}/finding") for name in languages] if len(languages) > 1 else []
    rows += [
        (title, f"{prefix}finding") for prefix, title in FALLBACK_GROUPS.items() if f"{prefix}finding/f1" in metrics
    ]
    rows += [("finding, weighted", "weighted/finding")] if "weighted/finding/f1" in metrics else []
    for title, group in rows:
        if metrics[f"{group}/n_gold"] + metrics[f"{group}/n_predicted"]:
            cells = "".join(
                f"{_percent(f'{group}/{name}', metrics, intervals):>22}" for name in ("f1", "precision", "recall")
            )
            lines.append(f"{title.replace('_', ' '):<22}{cells}{metrics[f'{group}/n_gold']:>7.0f}")
    lines.append(f"{'fields of pairs':<22}{'all':>22}{'n':>7}{'where stated':>22}{'n':>7}")
    for field in FIELDS:
        line = f"{field:<22}{_percent(f'{field}/agreement', metrics, intervals):>22}{metrics[f'{field}/n']:>7.0f}"
        if f"{field}/agreement_where_stated" in metrics:
            stated = _percent(f"{field}/agreement_where_stated", metrics, intervals)
            line += f"{stated:>22}{metrics[f'{field}/n_where_stated']:>7.0f}"
        lines.append(line)
    others = {"normal right": "normal/accuracy", "valid": "valid/share", "verbatim quotes": "quotes/verbatim"}
    lines += [f"{title:<22}{_percent(name, metrics, intervals):>22}" for title, name in others.items()]
    if "speed/reports_per_second" in metrics:
        lines.append(f"{'reports a second':<22}{metrics['speed/reports_per_second']:>22,.0f}")
    return "\n".join(lines)


def _percent(name: str, metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    return "-" if math.isnan(metrics[name]) else percent_with_interval(name, metrics, intervals)
