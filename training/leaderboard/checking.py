"""Whether a submission is taken: all reasons at once, and what was computed again of one that is."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..evaluation.case_metrics import Cases
from ..evaluation.recomputation import recompute
from .benchmark import Benchmark
from .submission import DESCRIPTION_NAME, MAX_DESCRIPTION_BYTES, Submission, parse_submission
from .table_reading import max_bytes, read_scores

# How far a reported value may be from the recomputed one: a share by half a point, a rank or number by half a percent.
TOLERANCE = 0.005
_MAX_ENTRIES = 50
_NAMED = 5
Points = Mapping[str, float]


@dataclass(frozen=True)
class CheckedSubmission:
    """What was found.

    Attributes:
        submission: Its description; None where that could not be read.
        problems: Why it is refused; none: it is taken.
        cases: Tables of cases by task, one a run, truth from the benchmark.
        points: Recomputed metrics by task, one a run.
        self_reported: By task and metric what could not be recomputed.
    """

    submission: Submission | None
    problems: tuple[str, ...]
    cases: Mapping[str, tuple[Cases, ...]] = field(default_factory=dict)
    points: Mapping[str, tuple[Points, ...]] = field(default_factory=dict)
    self_reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def is_taken(self) -> bool:
        """Whether it stands on the leaderboard."""
        return not self.problems

    def __str__(self) -> str:
        if self.problems:
            return "refused:\n" + "\n".join(f"- {problem}" for problem in self.problems)
        assert self.submission is not None, "a submission without problems was read"
        count = sum(len(each[0]) for each in self.points.values())
        lines = [f"taken: {self.submission.system}, {self.submission.runs} run(s), {count} metrics computed again"]
        lines += [f"- {task}: {len(points[0])} metrics" for task, points in self.points.items()]
        for task, each in self.self_reported.items():
            has_no_scores = task == "retrieval" and task not in self.points
            hint = "; its result holds no scores, evaluate with --scores" if has_no_scores else ""
            lines.append(f"- {task}: {len(each)} self-reported{hint}")
        return "\n".join(lines)


def check_submission(folder: Path, benchmark: Benchmark, *, name: str | None = None) -> CheckedSubmission:
    """Check a submission and compute its metrics again.

    Args:
        folder: Folder with `submission.json` and a table a task.
        benchmark: What it is scored against.
        name: What the id of the system must be; None: the name of the folder.
    """
    files, problems = _files(folder, benchmark)
    if DESCRIPTION_NAME not in files:
        return CheckedSubmission(None, tuple(problems))
    with files[DESCRIPTION_NAME].open("rb") as file:
        submission, reasons = parse_submission(file.read(MAX_DESCRIPTION_BYTES + 1))
    problems += reasons
    if submission is None:
        return CheckedSubmission(None, tuple(problems))
    if submission.id != (folder.name if name is None else name):
        problems.append(f"{DESCRIPTION_NAME}: expected id to be the name of the folder")
    if submission.benchmark.fingerprint != benchmark.fingerprint:
        problems.append(
            f"{DESCRIPTION_NAME}: expected a submission to {benchmark.name} {benchmark.version} "
            f"({benchmark.fingerprint[:12]}), got another benchmark or version"
        )
    cases: dict[str, tuple[Cases, ...]] = {}
    for task in benchmark.tasks:
        path = files.get(f"{task}.parquet")
        if path is None:
            continue
        reference = benchmark.references[task]
        scores, reasons = read_scores(path, reference, submission.runs)
        problems += [f"{path.name}: {reason}" for reason in reasons]
        for run, each in enumerate(scores):
            if count := reference.contradictions(each):
                problems.append(f"{path.name}: run {run}: {count} pairs have scores that contradict one another")
        if scores and not reasons:
            cases[task] = tuple(reference.cases(each) for each in scores)
    points = {task: tuple(recompute(task, each).points for each in runs) for task, runs in cases.items()}
    problems += _forged(submission, points)
    if not points and not problems and not submission.self_reported:
        problems.append("expected the table of at least one task, got none")
    if problems:
        return CheckedSubmission(submission, tuple(problems))
    return CheckedSubmission(submission, (), cases, points, _self_reported(submission, points))


def _files(folder: Path, benchmark: Benchmark) -> tuple[dict[str, Path], list[str]]:
    """The plain files of a submission by their names, and what else is there."""
    if folder.is_symlink() or not folder.is_dir():
        return {}, ["expected a folder, got a link or nothing"]
    allowed = {DESCRIPTION_NAME, *(f"{task}.parquet" for task in benchmark.tasks)}
    files: dict[str, Path] = {}
    others = links = 0
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _MAX_ENTRIES:
                return {}, [f"expected at most {len(allowed)} files, got more than {_MAX_ENTRIES}"]
            if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                links += 1
            elif entry.name not in allowed:
                others += 1
            else:
                files[entry.name] = folder / entry.name
    problems = []
    if links:
        problems.append(f"expected plain files, got {links} links, folders or devices")
    if others:
        problems.append(f"expected the files {', '.join(sorted(allowed))} and no other, got {others} more")
    if DESCRIPTION_NAME not in files:
        problems.append(f"expected {DESCRIPTION_NAME}, got none")
    return files, problems


def _forged(submission: Submission, points: Mapping[str, tuple[Points, ...]]) -> list[str]:
    """Reported values that are not those of the scores handed in."""
    problems = []
    for task, runs in points.items():
        if set(submission.self_reported.get(task, {})) & set(runs[0]):
            problems.append(f"{task}: expected in self_reported what cannot be computed again, got metrics that can")
        wrong = [
            (metric, run, runs[run][metric])
            for metric, values in submission.reported.get(task, {}).items()
            for run, value in enumerate(values)
            if value is not None and run < len(runs) and metric in runs[run]
            if not abs(value - runs[run][metric]) <= TOLERANCE * max(1.0, abs(runs[run][metric]))
        ]
        if wrong:
            # names and values of the benchmark's own metrics, computed here
            named = "; ".join(f"{metric} of run {run} is {value:.4f}" for metric, run, value in wrong[:_NAMED])
            more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            problems.append(f"{task}: reported values are not those of its scores: {named}{more}")
    return problems


def _self_reported(submission: Submission, points: Mapping[str, tuple[Points, ...]]) -> dict[str, dict[str, float]]:
    """What a submission says and nobody can compute again: mean over runs."""
    found = {task: dict(values) for task, values in submission.self_reported.items()}
    for task, reported in submission.reported.items():
        known = points[task][0] if task in points else {}
        for metric, values in reported.items():
            given = [value for value in values if value is not None]
            if metric not in known and given:
                found.setdefault(task, {})[metric] = sum(given) / len(given)
    return {task: values for task, values in found.items() if values}


def largest_upload(benchmark: Benchmark, runs: int) -> int:
    """Bytes of the largest file that a submission of so many runs can need."""
    sizes = [max_bytes(reference, runs) for reference in benchmark.references.values()]
    return max(MAX_DESCRIPTION_BYTES, *sizes)
