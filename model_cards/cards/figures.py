"""Plots of results beside a card."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from selip.processing.atomic_files import replacing

from .results import CardResult

FIGURES_FOLDER = "figures"


def copy_figures(results: Sequence[CardResult], folder: Path) -> list[tuple[str, str]]:
    """Copy the pictures that stand beside result files; names are made of task and kind, not of the files' names.

    Returns:
        Caption and link of each, relative to the card.
    """
    found = []
    for number, result in enumerate(results):
        task = str(result.record["task"]).partition(": ")[2] or str(result.record["task"])
        for kind, name in result.record.get("files", {}).items():
            source = result.path.parent / Path(name).name
            if source.suffix != ".png" or not source.is_file():
                continue
            slug = kind.replace(" ", "-").replace("_", "-")
            link = f"{FIGURES_FOLDER}/{number + 1}-{task.replace('_', '-')}-{slug}.png"
            with replacing(folder / link) as partial:
                shutil.copyfile(source, partial)
            found.append((f"{task.replace('_', ' ')}: {kind.replace('_', ' ')}", link))
    return found
