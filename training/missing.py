"""`selip missing`: one task again and again, each time with other sequences of the studies hidden.

    selip missing runs/tiny/best data/studies missing --task probe --volumes data/volumes

Series are embedded alone and once, so every set of sequences after the first costs no pass of the network; a head
reads every set anew.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from tqdm import tqdm

from selip.processing.sources.studies import iter_studies, load_studies

from .evaluate import evaluate, leaks_of
from .evaluation.config import CheckpointEvaluation, EvaluateConfig, MissingConfig
from .evaluation.missing_figure import HeatTable, draw_heat_table
from .evaluation.provenance import checkpoint_fingerprint, environment
from .evaluation.result_file import FORMAT_VERSION, ResultRecord, command_line, write_result

# Pairs of sequences that are read together.
PAIRED = (("DWI", "ADC"),)
# What is compared where the primary metric of a task is of single series, which hide no other.
HEADLINES = {"retrieval": "study/image_to_text/recall@5"}
# What is compared beside the headline, by task: names of metrics, or "/" and how they end.
BESIDE = {
    "retrieval": (
        *(f"study/image_to_text/recall@{k}" for k in (1, 10)),
        "study_abnormal/image_to_text/recall@5",
    ),
    "pairs": ("/image_to_text/accuracy",),
    "localization": ("all/auroc", "all/dice"),
    "detection": ("all/ap@0.3", "all/sensitivity@1"),
    "segmentation": ("lesion_f1",),
}
AREAS = ("/auroc",)
"""The same of all tasks that are about labels."""
RESULT_NAME, FIGURE_NAME = "missing.json", "missing.png"
# A set that fewer studies have is left out.
MIN_STUDIES = 20


@dataclass(frozen=True)
class ShownSet:
    """Sequences that are shown.

    Attributes:
        title: How a reader calls it, e.g. "all but FLAIR".
        sequences: Their names; none: all.
    """

    title: str
    sequences: tuple[str, ...]


def evaluate_missing(config: MissingConfig) -> ResultRecord:
    """Evaluate with all sequences, each alone, pairs read together, and all but each.

    Returns:
        What `missing.json` holds: `sets`, each with its sequences, number of studies, and the task's metrics and
        intervals, and `left_out`, the sets that the task could not be asked of, each with the reason. A result of a
        set that is there already, of the same checkpoint and command, is used again.

    Raises:
        FileExistsError: There is a summary already and `overwrite` is off.
        ValueError: The studies have one sequence only; and what `evaluate` raises.
    """
    out = config.out / RESULT_NAME
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; choose another folder, or say --overwrite")
    sets = shown_sets(_sequence_counts(config))
    config.out.mkdir(parents=True, exist_ok=True)
    leaks = cache(lambda: leaks_of(config))  # of all sets alike, and not asked where every result is there
    results, left_out = _evaluate_sets(config, sets, leaks)
    sets = [each for each in sets if each.title not in left_out]
    headline = HEADLINES.get(config.task, results[0]["primary_metric"])
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "task": f"missing: {config.task}",
        "headline": headline,
        "compared": compared_metrics(config.task, headline, [each["metrics"] for each in results]),
        "simulated": results[0]["simulated"],
        "sets": [
            {
                "title": each.title,
                "sequences": list(each.sequences) or "all",
                "n": result["n"],
                "metrics": result["metrics"],
                "intervals": result["intervals"],
            }
            for each, result in zip(sets, results, strict=True)
        ],
        "left_out": left_out,
        "checkpoint": results[0]["checkpoint"],
        "data": results[0]["data"],
        "command": command_line(config, "missing"),
        "environment": environment(),
        "files": {"heat table": FIGURE_NAME},
    }
    record = ResultRecord(content, missing_table(content))
    draw_heat_table(heat_table(content), config.out / FIGURE_NAME)
    write_result(record, out)
    return record


def shown_sets(counts: Mapping[str, int]) -> list[ShownSet]:
    """What is shown, one after the other.

    Args:
        counts: Number of studies that have each sequence; those that fewer than 20 have do not stand alone.

    Raises:
        ValueError: Fewer than two sequences are there, or none that enough studies have.
    """
    if len(counts) < 2:
        raise ValueError(f"expected studies with two sequences or more, got {', '.join(counts) or 'none'} alone")
    common = [name for name, count in counts.items() if count >= MIN_STUDIES]
    if not common:
        raise ValueError(
            f"expected a sequence that at least {MIN_STUDIES} studies have, the most frequent, {next(iter(counts))}, "
            f"has {max(counts.values())}; take another split, or more studies"
        )
    sets = [ShownSet("all", ())]
    sets += [ShownSet(f"{name} only", (name,)) for name in common]
    sets += [ShownSet(" + ".join(pair) + " only", pair) for pair in PAIRED if set(pair) <= set(common)]
    sets += [ShownSet(f"all but {name}", tuple(other for other in counts if other != name)) for name in common]
    return sets


def _sequence_counts(config: MissingConfig) -> dict[str, int]:
    """Number of studies of the split that have each sequence, most frequent first."""
    counts: Counter[str] = Counter()
    for row in iter_studies(load_studies(config.studies)[config.split]):
        counts.update({str(series["sequence"]) for series in row["series"]})
    return dict(counts.most_common())


def _evaluate_sets(
    config: MissingConfig, sets: Sequence[ShownSet], leaks: Callable[[], dict[str, int]]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The results of the sets that the task can be asked of, and of the others the reason by title.

    Raises:
        ValueError: It cannot be asked of all sequences together.
    """
    results: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for each in tqdm(sets, desc="sets of sequences", unit="set", disable=None):
        try:
            results.append(_evaluated(config, each, leaks))
        except ValueError as error:  # e.g. no minimal pair in such series, no lesion in studies that have them
            if not each.sequences:
                raise
            left_out[each.title] = str(error)
    return results, left_out


def _evaluated(config: MissingConfig, shown: ShownSet, leaks: Callable[[], dict[str, int]]) -> dict[str, Any]:
    """The result of one set, made or found."""
    name = "-".join(shown.sequences) or "all"
    shared = {each.name: getattr(config, each.name) for each in fields(CheckpointEvaluation)}
    beside: dict[str, Any] = {"probe_extent": "linear"} if config.task == "probe" else {}
    request = EvaluateConfig(
        **{**shared, **beside, "overwrite": True},
        sequences=shown.sequences,
        num_figure_cases=0,
        out=config.out / f"{name}.json",
    )
    if request.out is not None and request.out.is_file():
        found = json.loads(request.out.read_text(encoding="utf-8"))
        is_same = found["checkpoint"].get("sha256") == checkpoint_fingerprint(config.checkpoint)
        if is_same and found["command"] == command_line(request):
            return dict(found)
    return evaluate(request, leaks=leaks())


def compared_metrics(task: str, headline: str, metrics: Sequence[Mapping[str, float]]) -> list[str]:
    """Headline first, then those of `BESIDE` that every set has, in the order of the first set.

    Args:
        task: What was evaluated.
        headline: Name of the metric that sets are compared by.
        metrics: Those of every set.
    """
    beside = BESIDE.get(task, AREAS)
    alike = [
        name
        for name in metrics[0]
        if name != headline and any(name == each or (each[0] == "/" and name.endswith(each)) for each in beside)
    ]
    return [headline, *(name for name in alike if all(name in each for each in metrics))]


def missing_table(content: Mapping[str, Any]) -> str:
    """One line a set: the headline in percent with its interval, and how many studies have such sequences."""
    simulated = ", simulated studies" if content["simulated"] else ""
    headline = content["headline"]
    lines = [
        f"{content['task']}: {headline}{simulated}; percent [95 % interval over patients]",
        f"{'shown':<24}{'':>22}{'studies':>9}",
    ]
    for each in content["sets"]:
        value = f"{100 * each['metrics'][headline]:.1f}"
        ends = each["intervals"].get(headline)
        interval = "" if ends is None else f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
        lines.append(f"{each['title']:<24}{value + interval:>22}{each['n']['studies']:>9}")
    lines += [f"{title:<24}left out: {reason}" for title, reason in content["left_out"].items()]
    return "\n".join(lines)


def heat_table(content: Mapping[str, Any]) -> HeatTable:
    """Sets against metrics, in percent."""
    names = content["compared"]
    return HeatTable(
        title=f"{content['task']}{' (simulated studies)' if content['simulated'] else ''}, percent",
        rows=_titles(content["sets"]),
        columns=tuple(_short(name) for name in names),
        values=tuple(tuple(100 * each["metrics"][name] for name in names) for each in content["sets"]),
    )


def _titles(sets: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{each['title']} ({each['n']['studies']})" for each in sets)


def _short(name: str) -> str:
    return name.removesuffix("/auroc").replace("/image_to_text/", " ").replace("_", " ")
