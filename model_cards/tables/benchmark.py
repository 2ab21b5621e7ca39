"""The result of `selip benchmark simulated` as a Markdown table and a picture."""

import json
from pathlib import Path
from typing import Any


def write_benchmark_table(result: Path, page: Path) -> str:
    """Write the page and, beside it, the picture.

    Args:
        result: JSON file of the benchmark.
        page: Markdown file to write; the picture has its name and `.png`.

    Returns:
        The main table as Markdown.

    Raises:
        ModuleNotFoundError: The extra `plots` is not installed.
    """
    record = json.loads(result.read_text(encoding="utf-8"))
    draw_benchmark(record, page.with_suffix(".png"))
    main = main_metrics(record)
    kinds = [name for name in record["metrics"] if name not in main]
    table = markdown_table(record, main)
    n, settings, read = record["n"], record["settings"], record["structuring"]
    heads = record["heads"]
    low, high = (100 * end for end in read["interval"])
    lines = [
        f"# Benchmark on simulated studies, version {record['benchmark_version']}",
        "",
        f"{settings['studies']} simulated studies (seed {settings['data_seed']}); test: {n['retrieval']['studies']} "
        f"studies of {n['retrieval']['patients']} patients, {n['pairs']['pairs']} minimal pairs; seeds "
        f"{', '.join(map(str, settings['seeds']))}, recipe `{record['recipe']}`. Percent: mean over seeds [95 % "
        f"interval over patients and seeds]; differences from `{record['baseline']}` are paired. Retrieval: queries "
        "of abnormal studies, within their sequence.",
        "",
        f"Texts are made of findings that {read['name']} {read['version']} read out of the reports: against what the "
        f"test studies show, F1 {100 * read['f1']:.1f} [{low:.1f}, {high:.1f}], precision "
        f"{100 * read['precision']:.1f}, recall {100 * read['recall']:.1f}.",
        "",
        table,
        "",
        "Choices between the two studies of a minimal pair (chance 50), by what differs:",
        "",
        markdown_table(record, kinds),
        "",
        *(f"- `{name}`: {question}" for name, question in record["arms"].items()),
        "",
        *([] if heads is None else _head_lines(heads)),
        *(f"**Too close to tell arms apart.** {line}." for line in record["too_close"]),
        f"![values with intervals]({page.with_suffix('.png').name})",
        "",
    ]
    page.write_text("\n".join(lines), encoding="utf-8")
    return table


def _head_lines(heads: dict[str, Any]) -> list[str]:
    """The part on heads: what they were trained on, and the table."""
    seeds = ", ".join(map(str, heads["seeds"]))
    return [
        "## Heads",
        "",
        f"Trained on {' and '.join(f'`{name}`' for name in heads['chosen'])}, the best arms on the validation "
        f"studies, and on the same network from scratch; seeds {seeds}.",
        "",
        markdown_table(heads, list(heads["metrics"])),
        "",
    ]


def main_metrics(record: dict[str, Any]) -> list[str]:
    """Metrics that summarise a task; those of single kinds of pairs are left out."""
    return [name for name, title in record["metrics"].items() if not title.startswith("pairs: ")]


def markdown_table(record: dict[str, Any], metrics: list[str]) -> str:
    """One row a system: value with interval, and the difference from the baseline with its own; last what can be told.

    Args:
        record: With `metrics`, `baseline`, `values`, `differences` and `detectable`.
        metrics: The columns.
    """
    titles, baseline = record["metrics"], record["baseline"]
    header = ["", *(title for name in metrics for title in (titles[name], f"minus {baseline}"))]
    rows = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for system, values in record["values"].items():
        differences = record["differences"].get(system, {})
        cells = [f"`{system}`"]
        for name in metrics:
            cells.append(_cell(values[name]) if name in values else "")
            cells.append(_cell(differences[name], signed=True) if name in differences else "")
        rows.append("| " + " | ".join(cells) + " |")
    detectable = [
        f"{100 * record['detectable'][name]:.1f}" if name in record["detectable"] else "" for name in metrics
    ]
    last = [cell for each in detectable for cell in ("", each)]
    return "\n".join([*rows, "| " + " | ".join(["*difference found with 80 % power*", *last]) + " |"])


def draw_benchmark(record: dict[str, Any], path: Path) -> None:
    """One panel a metric: value, interval and the values of the seeds of every arm.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the picture needs matplotlib: pip install 'selip[plots]'") from error
    metrics, arms = list(record["metrics"]), list(record["arms"])
    columns = 4
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(3.2 * columns + 1.5, (0.32 * len(arms) + 0.9) * rows), layout="constrained")
    for number, name in enumerate(metrics):
        axes = figure.add_subplot(rows, columns, number + 1)
        for place, arm in enumerate(arms):
            each = record["values"][arm].get(name)
            if each is None:
                continue
            is_reference = arm in record["references"]
            colour = "#8a8a8a" if is_reference else "#1f5fa8"
            axes.plot([100 * each["low"], 100 * each["high"]], [place, place], color=colour, linewidth=2)
            seeds = [100 * value for value in each["by_seed"]]
            axes.plot(seeds, [place] * len(seeds), "|", color=colour, markersize=8)
            axes.plot(100 * each["value"], place, "o", color=colour, markersize=5)
        axes.axvline(100 * record["values"][record["baseline"]][name]["value"], color="#c9c9c9", linewidth=1, zorder=0)
        axes.set_yticks(range(len(arms)), arms if number % columns == 0 else [""] * len(arms), fontsize=8)
        axes.set_ylim(len(arms) - 0.5, -0.5)  # the same rows in every panel, also where an arm has no value
        axes.set_title(record["metrics"][name], fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.suptitle("Simulated studies: percent, 95 % intervals over patients and seeds; ticks are seeds", fontsize=10)
    figure.savefig(path, dpi=150)


def _cell(estimate: dict[str, Any], *, signed: bool = False) -> str:
    form = "+.1f" if signed else ".1f"
    value, low, high = (format(100 * estimate[key], form) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
