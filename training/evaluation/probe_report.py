"""A probe's result as lines of text."""

from collections.abc import Sequence

import numpy as np

from .probe import ProbeResult
from .probe_metrics import ATTENTION, BASELINE, few_shot_columns, label_areas
from .task import percent_with_interval


def purity_line(result: ProbeResult, name: str) -> str:
    """What the neighbours say of one colouring, as a line of text."""
    purity = percent_with_interval(f"map/{name}/purity", result.metrics, result.intervals)
    expected, p_value = (result.metrics[f"map/{name}/{each}"] for each in ("expected", "p_value"))
    return f"neighbours alike {purity} %, dealt anew {100 * expected:.1f} %, p = {p_value:.3f}"


def left_out_from(result: ProbeResult) -> dict[str, int]:
    """The number of studies a class from which on each label is left out of the few-shot curve."""
    found: dict[str, int] = {}
    for setting, columns in few_shot_columns(result.cases).items():
        if setting.startswith("k="):
            for label, area in label_areas(result.cases, columns[0]).items():
                if np.isnan(area):
                    found.setdefault(label, int(setting.removeprefix("k=")))
    return found


def probe_table(labels: Sequence[str], result: ProbeResult, n: dict[str, int], is_simulated: bool) -> str:
    """What is compared, the few-shot curve, the map, then every label.

    Args:
        labels: The labels, in the order of their lines.
        result: Of a `ProbeEvaluator`.
        n: Numbers of studies and patients.
        is_simulated: Whether the studies are.
    """
    simulated = ", simulated studies" if is_simulated else ""
    head = (
        f"linear probe, {n['studies']} studies of {n['patients']} patients{simulated}; area under the ROC curve in "
        "percent (chance 50), [95 % interval over patients]"
    )
    return "\n".join([head, *_compared(result), *_few_shot(result), *_map(result), *_labels(labels, result)])


def _compared(result: ProbeResult) -> list[str]:
    """The linear probe beside baselines and attention; nothing where it stands alone."""
    names = baseline_names(result)
    if not names:
        return []
    lines = [
        f"{'mean over labels':<32}{'':>22}  {'linear probe minus it':>22}",
        f"{'linear probe':<32}{_percent(result, 'mean/auroc'):>22}",
    ]
    titles = {f"baseline/{name}": f"baseline: {name.replace('_', ' ')}" for name in names}
    for key, title in titles.items():
        area, difference = _percent(result, f"{key}/auroc"), _percent(result, f"{key}/difference")
        lines.append(f"{title:<32}{area:>22}  {difference:>22}")
    area, difference = _percent(result, f"{ATTENTION}/auroc"), _percent(result, f"{ATTENTION}/difference")
    return [*lines, f"{'attention probe':<32}{area:>22}  {difference:>22} (it minus linear)"]


def _few_shot(result: ProbeResult) -> list[str]:
    """One line a point of the curve, and which labels leave it where."""
    lines = []
    for setting in few_shot_columns(result.cases):
        name = f"few_shot/{setting}"
        if f"{name}/auroc" in result.metrics:
            labels = f"{result.metrics[f'{name}/n_labels']:.0f} labels"
            lines.append(f"{f'few-shot, {setting}':<32}{_percent(result, f'{name}/auroc'):>22}  {labels}")
    left_out = left_out_from(result)
    if left_out:
        lines.append("few-shot leaves out: " + ", ".join(f"{label} from {k}" for label, k in left_out.items()))
    return lines


def _map(result: ProbeResult) -> list[str]:
    names = [name.split("/")[1] for name in result.metrics if name.endswith("/p_value")]
    return [f"map, {name}: {purity_line(result, name)}" for name in names]


def _labels(labels: Sequence[str], result: ProbeResult) -> list[str]:
    """One line a label; its area by each probe and baseline."""
    beside = [ATTENTION, *(BASELINE + name for name in baseline_names(result))]
    areas = {name: label_areas(result.cases, name) for name in beside if name in result.cases}
    if areas:
        heads = "".join(f"{name.removeprefix(BASELINE).replace('_', ' '):>16}" for name in areas)
        lines = [f"{'':<44}{'linear':>22}{heads}"]
    else:
        lines = [f"{'mean':<44}{_percent(result, 'mean/auroc'):>22}"]
    for label in labels:
        others = "".join(f"{100 * each[label]:>16.1f}" for each in areas.values())
        count = f"{result.metrics[f'{label}/n_positive']:.0f} with it"
        lines.append(f"{label:<44}{_percent(result, f'{label}/auroc'):>22}{others}  {count}")
    return lines


def baseline_names(result: ProbeResult) -> list[str]:
    """Names of the baselines of a result, chance among them."""
    keys = [name for name in result.metrics if name.startswith("baseline/") and name.endswith("/auroc")]
    return [name.split("/")[1] for name in keys]


def _percent(result: ProbeResult, name: str) -> str:
    return percent_with_interval(name, result.metrics, result.intervals)
