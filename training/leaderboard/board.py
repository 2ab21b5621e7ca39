"""A leaderboard as plain data: every task and part with values, ranks and differences; what was refused and why."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..evaluation.bootstrap import PatientBootstrap
from ..evaluation.comparison import Replicated, estimate
from .benchmark import Benchmark
from .checking import CheckedSubmission, check_submission
from .config import ID_PATTERN
from .ranking import draws_needed, order, rank
from .subsets import Subset, TaskTables, tables_of

FORMAT_VERSION = 1
RULE = (
    "rank = 1 + number of systems that are better, told apart by paired differences over the same patients (95 % "
    "bootstrap, patients and runs drawn, Holm correction over all pairs of a table); ties share a rank, and a less "
    "certain value may stand before a slightly higher one"
)
_DIGITS = 6
_SHOWN = ("system", "organisation", "link", "description", "licence", "trained_on", "date", "runs")


def check_all(folder: Path, benchmark: Benchmark) -> dict[str, CheckedSubmission]:
    """Check every submission of a folder, by the name of its folder, in the order of names.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder with one folder a submission, found none at {folder}")
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    bar = tqdm(paths, desc="submissions", unit="system", disable=None)
    return {path.name: check_submission(path, benchmark) for path in bar}


def build_board(
    benchmark: Benchmark,
    checked: Mapping[str, CheckedSubmission],
    *,
    num_samples: int,
    seed: int = 0,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """Rank the submissions that were taken.

    Args:
        benchmark: What they were scored against.
        checked: Submissions by the name of their folder.
        num_samples: Draws of patients; more are taken where many systems are compared.
        seed: Seed of the draws.
        alpha: Family-wise error of one table.

    Returns:
        `benchmark`, `settings`, `systems` by id, `tasks` (each with `columns` and `subsets`, these with `rows` in the
        order of ranks and `differences` of all pairs), `self_reported`, `refused`. Shares are 0 ... 1, rounded to six
        digits.
    """
    taken = {name: checked[name] for name in sorted(checked) if checked[name].is_taken}
    draws = max(num_samples, draws_needed(len(taken), alpha))
    tasks = [_task(task, benchmark, taken, draws, seed, alpha) for task in benchmark.tasks]
    return {
        "format_version": FORMAT_VERSION,
        "benchmark": {
            **benchmark.as_header(),
            "description": benchmark.info["description"],
            "simulated": benchmark.info["simulated"],
            "split": benchmark.info["split"],
        },
        "settings": {"rule": RULE, "bootstrap_samples": draws, "seed": seed, "alpha": alpha},
        "systems": {name: _system(each) for name, each in taken.items()},
        "tasks": tasks,
        "self_reported": [
            {"system": name, "task": task, "metric": metric, "value": round(value, _DIGITS)}
            for name, each in taken.items()
            for task, values in sorted(each.self_reported.items())
            for metric, value in sorted(values.items())
        ],
        "refused": [
            {"submission": _safe_name(name, number), "reasons": list(checked[name].problems)}
            for number, name in enumerate(sorted(checked), start=1)
            if not checked[name].is_taken
        ],
    }


def every_metric(checked: Mapping[str, CheckedSubmission]) -> dict[str, Any]:
    """All recomputed metrics: mean over runs and the value of every run, by system, task and name."""
    return {
        name: {
            task: {
                metric: {
                    "value": _rounded(float(np.mean([each[metric] for each in runs]))),
                    "by_run": [_rounded(each[metric]) for each in runs],
                }
                for metric in runs[0]
                if all(metric in each for each in runs)
            }
            for task, runs in each.points.items()
        }
        for name, each in sorted(checked.items())
        if each.is_taken
    }


def _system(checked: CheckedSubmission) -> dict[str, Any]:
    assert checked.submission is not None, "a submission that was taken was read"
    return {name: getattr(checked.submission, name) for name in _SHOWN}


def _safe_name(name: str, number: int) -> str:
    """The name of a folder if it is plain, since it is shown."""
    return name if re.fullmatch(ID_PATTERN, name) else f"number {number}"


def _task(
    task: str, benchmark: Benchmark, taken: Mapping[str, CheckedSubmission], draws: int, seed: int, alpha: float
) -> dict[str, Any]:
    """One task on all its parts."""
    runs_of = {name: each.cases[task] for name, each in taken.items() if task in each.cases}
    if not runs_of:
        return {"id": task, "title": task.replace("_", "-").capitalize(), "columns": [], "subsets": []}
    first = next(iter(runs_of.values()))[0]
    tables = tables_of(task, benchmark.references[task], first)
    resampling = PatientBootstrap(first["patient_id"].astype(str), num_samples=draws, seed=seed)
    systems = {
        name: Replicated([tables.metrics(cases, resampling) for cases in runs], draws, seed)
        for name, runs in tqdm(runs_of.items(), desc=task, unit="system", disable=None)
    }
    return {
        "id": task,
        "title": tables.title,
        "columns": [asdict(column) for column in tables.columns],
        "subsets": [_subset(subset, tables, systems, alpha) for subset in tables.subsets],
    }


def _subset(subset: Subset, tables: TaskTables, systems: Mapping[str, Replicated], alpha: float) -> dict[str, Any]:
    """One table: rows in the order of ranks, and the differences behind these."""
    ranking_by = f"{subset.id}/{tables.columns[0].id}"
    values = {name: float(each.points[ranking_by].mean()) for name, each in systems.items()}
    found = rank(values, {name: each.replicates[ranking_by] for name, each in systems.items()}, alpha=alpha)
    rows = [
        {
            "system": name,
            "rank": found.ranks[name],
            "behind": list(found.behind[name]),
            "cells": {
                column.id: _cell(systems[name], f"{subset.id}/{column.id}")
                for column in tables.columns
                if f"{subset.id}/{column.id}" in systems[name].points
            },
        }
        for name in order(values, found.ranks)
    ]
    return {
        "id": subset.id,
        "title": subset.title,
        "group": subset.group,
        "count": subset.count,
        "patients": subset.patients,
        "yardsticks": {name: _rounded(value) for name, value in subset.yardsticks.items()},
        "rows": rows,
        "differences": [
            {key: _rounded(value) if isinstance(value, float) else value for key, value in asdict(each).items()}
            for each in found.differences
        ],
    }


def _cell(system: Replicated, name: str) -> dict[str, Any]:
    found = estimate(system.points[name], system.replicates[name])
    return {
        "value": _rounded(found.value),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "by_run": [_rounded(value) for value in found.by_seed],
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, _DIGITS)
