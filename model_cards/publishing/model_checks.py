"""Checks of a model by using it: whole and finite weights, classes that load without selip, outputs as stored."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .isolation import ask_fresh_process
from .kinds import REFERENCE_NAME
from .reference import TOLERANCE, differences
from .verification import Problem

_SAVE_AGAIN = "save the checkpoint again with this version of selip, or retrain it"


def find_weight_problems(folder: Path) -> Iterator[Problem]:
    """Weights that cannot be read, are not finite, or are announced and not there."""
    import torch
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        if path.name == REFERENCE_NAME:
            continue
        try:
            with safe_open(str(path), framework="pt") as file:
                wrong = [
                    name
                    for name in file.keys()  # noqa: SIM118 (safe_open is no mapping)
                    if (value := file.get_tensor(name)).is_floating_point() and not torch.isfinite(value).all()
                ]
        except SafetensorError as error:
            yield Problem(path.name, f"cannot be read ({error})", "save the checkpoint again")
            continue
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            yield Problem(
                path.name, f"{wrong[0]}{more} holds values that are not finite", "publish an earlier checkpoint"
            )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        for name in sorted(parts):
            if not (folder / name).is_file():
                yield Problem(name, "the index of the weights names it, it is not there", "save the checkpoint again")


def find_class_problems(folder: Path, base: str | None, reasons: Sequence[str] = ()) -> Iterator[Problem]:
    """Classes that do not load in a process without selip, weights that do not fit them, outputs that differ.

    Args:
        folder: The staged folder.
        base: Folder of the base of an adapter.
        reasons: Why there are no reference outputs, where there are none.
    """
    from safetensors.torch import load_file

    if not (folder / REFERENCE_NAME).is_file():
        why = "; ".join(reasons) or "the file is not there"
        yield Problem(REFERENCE_NAME, f"the model could not be loaded for reference outputs ({why})", _SAVE_AGAIN)
        return
    with tempfile.TemporaryDirectory(prefix="selip-verify-") as scratch:
        answer, outputs = Path(scratch) / "answer.json", Path(scratch) / "outputs.safetensors"
        request = {
            "task": "reproduce",
            "folder": str(folder.resolve()),
            "base": base,
            "inputs": str((folder / REFERENCE_NAME).resolve()),
            "outputs": str(outputs),
        }
        try:
            ask_fresh_process(request, answer)
        except RuntimeError as error:
            yield Problem("", _last_line(str(error)), _SAVE_AGAIN)
            return
        loaded: dict[str, str] = json.loads(answer.read_text(encoding="utf-8"))["loaded"]
        yield from (
            Problem("", f"{name}: {_without(what, folder)}", _SAVE_AGAIN) for name, what in loaded.items() if what
        )
        found: dict[str, Any] = load_file(outputs) if outputs.is_file() else {}
    if not found:
        yield Problem("", "nothing could be computed without selip", _SAVE_AGAIN)
        return
    for difference in differences(folder, found):
        if difference.largest > TOLERANCE:
            yield Problem(
                REFERENCE_NAME,
                f"{difference.name} without selip differs from that with it by {difference.largest:.2g} of its range",
                "the code in the folder is of another version; publish with the selip that wrote it, or save it again "
                "with this one and evaluate it anew",
            )


def _without(what: str, folder: Path) -> str:
    """A message without the place of the folder on this machine."""
    return what.replace(str(folder.resolve()), ".").replace(str(folder), ".")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"the process without selip failed: {lines[-1]}"
