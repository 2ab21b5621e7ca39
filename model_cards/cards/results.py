"""Result files on a card: each as a table with intervals and numbers of cases, and the command that makes it again.

Read are the files of `selip evaluate` (all tasks), `selip missing` and `selip compare`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tables.results import read_result, retrieval_rows
from ..tables.structuring import TextTable, field_table, finding_table, percent_with_ends, report_table
from .shown_commands import shown_command

_RETRIEVAL_NOTE = """\
Percent. Candidates are the texts of the query's own sequence; "chance" is a random order of them, "fixed order" the \
best that one order for all queries can reach; in the rows "overall", where all texts are candidates, both are those \
within the sequence, which are harder to beat; in the rows "study" a whole study asks, the mean of its series."""
_RETRIEVAL_HEADER = (
    "", "n", "recall@1", "recall@5", "95 % interval", "chance", "fixed order", "recall@10", "median rank", "of",
)  # fmt: skip
_COUNTED = {
    "series": "series",
    "texts": "unique texts",
    "pairs": "pairs",
    "labels": "labels",
    "findings": "findings",
    "lesions": "lesions",
}
# What a reader wants beside the metric that ranks.
_BESIDE = {
    "zero_shot": ("auprc", "polarity", "laterality"),
    "localization": ("chance", "auroc", "dice"),
    "detection": ("ap@0.3", "ap@0.5", "map"),
}
# Numbers of cases that tasks give by label or by kind of pair.
_CASES = {"n_positive": "with it", "n_choices": "choices", "n_cases": "cases"}
# Metrics that are no shares.
_UNITS = {"hd95_mm": "mm", "volume_error_ml": "ml", "distance_mm": "mm"}


@dataclass(frozen=True)
class CardTable:
    """One table of a card.

    Attributes:
        title: What was evaluated.
        subtitle: On what.
        header: Columns, the first one a name.
        rows: Cells of each line.
        note: What a reader must know of the numbers.
        command: What makes it again, without local paths.
    """

    title: str
    subtitle: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    command: str


@dataclass(frozen=True)
class CardResult:
    """A result file that a card shows.

    Attributes:
        path: Where it was read; never shown.
        record: Its content.
        kind: `evaluation`, `missing`, `comparison` or `structuring`.
    """

    path: Path
    record: Mapping[str, Any]
    kind: str


def read_card_result(path: Path) -> CardResult:
    """Read a result file of any kind.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not a result.
    """
    if path.is_file():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        for kind, parts in (("missing", ("sets", "headline")), ("comparison", ("values", "differences", "systems"))):
            if isinstance(record, dict) and all(part in record for part in (*parts, "command")):
                return CardResult(path, record, kind)
    record = read_result(path)
    return CardResult(path, record, "structuring" if record["task"] == "structuring" else "evaluation")


def check_subject(result: CardResult, *, weights: str | None = None, version: str | None = None) -> None:
    """Refuse a result of something else.

    Args:
        weights: SHA-256 of `model.safetensors` of the checkpoint that the card is of.
        version: Version of the structurer that the card is of.

    Raises:
        ValueError: The result names another one.
    """
    record = result.record
    if result.kind == "structuring":
        found = {record.get("structurer", {}).get("version")}
        expected = version
    elif result.kind == "comparison":
        found = {each.get("sha256") for systems in record["systems"].values() for each in systems}
        expected = weights
    else:
        found = {record.get("checkpoint", {}).get("sha256")}
        expected = weights
    found.discard(None)
    if expected is not None and found and expected not in found:
        raise ValueError(
            f"{result.path.name} is the result of another {'structurer' if version else 'checkpoint'}: expected "
            f"{expected[:12]}, got {', '.join(sorted(each[:12] for each in found))}; evaluate this one"
        )


def card_tables(result: CardResult) -> list[CardTable]:
    """The tables of a result, the headline first."""
    made = {"missing": _missing, "comparison": _comparison, "structuring": _structuring, "evaluation": _evaluation}
    return made[result.kind](result.record)


def _structuring(record: Mapping[str, Any]) -> list[CardTable]:
    about = record.get("structurer", {})
    name = Path(about.get("name", "")).name
    title = f"Findings read out of reports by {name} {about.get('version', '')}".strip()
    note = "Percent, 95 % intervals over patients."
    tables: list[TextTable] = [finding_table(record), field_table(record), report_table(record)]
    found = [_table(record, f"{title}: {table.title.lower()}", table.header, table.rows, note) for table in tables]
    return [each if each is found[-1] else _without_note(each) for each in found]


def _without_note(table: CardTable) -> CardTable:
    return CardTable(table.title, table.subtitle, table.header, table.rows, "", "")


def _evaluation(record: Mapping[str, Any]) -> list[CardTable]:
    rows = retrieval_rows(record)
    if rows:
        cells = tuple(
            (
                row.name, row.queries, row.recall_1, row.recall_5, row.interval, row.chance, row.blind, row.recall_10,
                row.median_rank, row.candidates,
            )
            for row in rows
        )  # fmt: skip
        note = f"{_RETRIEVAL_NOTE} Intervals resample patients."
        return [_table(record, _title(record), _RETRIEVAL_HEADER, cells, note)]
    if record["task"] == "segmentation":
        return [_segmentation(record)]
    columns, lines = _metric_lines(record)
    header = ("", *(column.replace("_", " ") for column in columns))
    return [_table(record, _title(record), header, lines, "Percent, with 95 % intervals that resample patients.")]


def _segmentation(record: Mapping[str, Any]) -> CardTable:
    """One line a metric, in its own unit."""
    lines = []
    for name, value in record["metrics"].items():
        unit = _UNITS.get(name.rpartition("/")[2])
        if value is None or name.rpartition("/")[2].startswith("n_"):
            continue
        ends = record["intervals"].get(name)
        scale = 1 if unit else 100
        text = f"{scale * value:.1f}"
        if ends is not None and None not in ends:
            text += f" ({scale * ends[0]:.1f} to {scale * ends[1]:.1f})"
        lines.append((name.replace("_", " "), text, unit or "%"))
    note = "With 95 % intervals that resample patients."
    return _table(record, _title(record), ("", "value", "unit"), tuple(lines), note)


def _metric_lines(record: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and lines of a task: each metric like the one that ranks that has an interval, and numbers of cases."""
    metrics, intervals, primary = record["metrics"], record["intervals"], record.get("primary_metric", "")
    columns = (primary.rpartition("/")[2], *_BESIDE.get(record["task"], ()))
    shown = [key for key in metrics if key == primary or (key.rpartition("/")[2] in columns and key in intervals)]
    names = dict.fromkeys([primary.rpartition("/")[0], *(key.rpartition("/")[0] for key in shown)])
    counts = [key for key in _CASES if any(f"{name}/{key}" in metrics for name in names)]

    def count(name: str, key: str) -> str:
        value = metrics.get(f"{name}/{key}")
        return "" if value is None else f"{value:.0f}"

    def cell(key: str) -> str:
        return percent_with_ends(key, record) if key in shown and metrics.get(key) is not None else ""

    lines = tuple(
        (
            name.replace("/", ", ").replace("_", " "),
            *(cell(f"{name}/{column}") for column in columns),
            *(count(name, key) for key in counts),
        )
        for name in names
    )
    return (*columns, *(_CASES[key] for key in counts)), lines


def _missing(record: Mapping[str, Any]) -> list[CardTable]:
    headline = record["headline"]
    lines = tuple(
        (
            each["title"],
            percent_with_ends(headline, each),
            str(each["n"].get("studies", "")),
            str(each["n"].get("patients", "")),
        )
        for each in record["sets"]
    )
    task = record["task"].partition(": ")[2].replace("_", " ")
    note = "Percent, with 95 % intervals that resample patients. Series are embedded alone: nothing of a hidden "
    note += "sequence is left in the others. Rows may be of different studies: those that have such sequences."
    header = ("sequences shown", headline.replace("_", " "), "studies", "patients")
    subtitle = f"The task {task} with other sequences of the studies hidden{_kind(record)}."
    return [CardTable("Missing sequences", subtitle, header, lines, note, shown_command(record["command"]))]


def _comparison(record: Mapping[str, Any]) -> list[CardTable]:
    primary = record["primary_metric"]
    kind = primary.rpartition("/")[2]
    names = [name for name in record["differences"] if name.rpartition("/")[2] == kind]
    lines = []
    for name in sorted(names, key=lambda name: name != primary):
        values = [record["values"][system][name]["value"] for system in ("first", "second")]
        each = record["differences"][name]
        if None in (*values, each["value"], each["low"], each["high"]):
            continue
        ends = f"{100 * each['value']:+.1f} ({100 * each['low']:+.1f} to {100 * each['high']:+.1f})"
        lines.append((name.replace("_", " "), *(f"{100 * value:.1f}" for value in values), ends))
    systems = record["systems"]
    seeds = len(systems["first"])
    note = (
        f"Percent. Differences have 95 % intervals over patients{' and seeds' if seeds > 1 else ''}, drawn together."
    )
    if seeds == 1:
        note += " One training each: the interval says nothing of what another training would have given."
    subtitle = f"{record['n'].get('patients', '?')} patients{_kind(record)}, {seeds} training(s) of each."
    title = f"Compared with another checkpoint: {record['task'].replace('_', ' ')}"
    header = ("", "first", "second", "first - second")
    return [CardTable(title, subtitle, header, tuple(lines), note, shown_command(record["command"]))]


def _table(
    record: Mapping[str, Any], title: str, header: tuple[str, ...], rows: tuple[tuple[str, ...], ...], note: str
) -> CardTable:
    return CardTable(title, _subtitle(record), header, rows, note, shown_command(record["command"]))


def _title(record: Mapping[str, Any]) -> str:
    """Task and split, and what was done to the input where something was."""
    settings, split = record.get("settings", {}), record.get("data", {}).get("split", "")
    title = record["task"].capitalize().replace("_", "-") + (f", {split} split" if split else "")
    sequences = settings.get("sequences", "all")
    if sequences != "all":
        title += f", shown {' and '.join(sequences)} only"
    if settings.get("control", "none") != "none":
        title += f", control {settings['control'].replace('_', ' ')}"
    return title


def _kind(record: Mapping[str, Any]) -> str:
    return " (simulated)" if record.get("simulated") else ""


def _subtitle(record: Mapping[str, Any]) -> str:
    """How many of what, by which protocol where there is one, and what was left out."""
    count = record["n"]
    kind = "simulated studies" if record.get("simulated") else "studies"
    parts = [f"{count['studies']} {kind} of {count['patients']} patients"]
    parts += [f"{count[name]} {words}" for name, words in _COUNTED.items() if name in count]
    settings = record.get("settings", {})
    if "protocol" in settings:
        parts.append(f"protocol {settings['protocol']} ({settings['protocol_sha256'][:12]})")
    left_out = sum(record.get("skipped", {}).values())
    if left_out:
        parts.append(f"{left_out} left out")
    commit = record.get("environment", {}).get("git_commit")
    if commit:
        parts.append(f"commit {commit[:12]}")
    return ", ".join(parts) + "."
