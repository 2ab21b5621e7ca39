"""Reference outputs: a made-up input and what the model makes of it, kept in the repository so that users can check.

The input is no one's: a volume of smooth blobs in an ellipsoid, from a formula, and fixed texts.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selip import __version__

from .fresh_process import load_all, outputs_of, parts_of, read_reference
from .kinds import ADAPTER, REFERENCE_NAME, STRUCTURER, Kind

SEQUENCE = "FLAIR"
TEXTS = (
    "FLAIR, normal head MRI.",
    "FLAIR, the left frontal lobe shows a hyperintense edema.",
    "FLAIR, the right thalamus shows a hyperintense acute infarct.",
)
TOLERANCE = 1e-3
"""Largest difference, relative to the largest value of an output, that is no difference: kernels round differently."""


@dataclass(frozen=True)
class Difference:
    """How far an output is from the stored one: `largest` relative to the largest stored value."""

    name: str
    largest: float


def made_up_volume() -> tuple[np.ndarray, np.ndarray]:
    """An int16 volume (48, 56, 40) of 4 mm voxels with its affine (4, 4); no axis and no side is like another."""
    shape = (48, 56, 40)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -2.0 * (np.array(shape) - 1)
    x, y, z = (np.arange(n) * 4.0 - 2.0 * (n - 1) for n in shape)
    x, y, z = np.meshgrid(x, y, z, indexing="ij")
    is_head = (x / 72) ** 2 + (y / 92) ** 2 + (z / 72) ** 2 < 1
    spot = np.exp(-((x + 30) ** 2 + (y - 35) ** 2 + (z - 10) ** 2) / 300)
    texture = 400 + x + 0.5 * y + 40 * np.cos(x / 9) * np.cos(y / 11) * np.cos(z / 7) + 300 * spot
    return np.where(is_head, texture, 0).round().astype(np.int16), affine


def write_reference(folder: Path, kind: Kind, base: str | None) -> None:
    """Write the reference outputs of a folder, computed in this process with its package.

    Raises:
        ValueError: The model cannot be loaded here; the message says why.
    """
    import torch
    from safetensors.torch import save_file

    import selip

    selip.register()
    about = {"sequence": SEQUENCE, "texts": list(TEXTS), "selip": __version__, "tolerance": TOLERANCE}
    tensors: dict[str, Any] = {}
    if kind not in (ADAPTER, STRUCTURER):
        volume, affine = made_up_volume()
        tensors = {"volume": torch.from_numpy(volume), "affine": torch.from_numpy(affine)}
    found = list(load_all(str(folder), base))
    parts = parts_of({name: part for name, part, _ in found})
    if not parts:
        reasons = [f"{name}: {problem}" for name, part, problem in found if part is None]
        raise ValueError("; ".join(reasons) or "the folder offers no model with a processor or tokenizer")
    outputs = outputs_of(parts, tensors, about)
    partial = folder / f".{REFERENCE_NAME}.partial"
    stored = {**tensors, **{f"output.{name}": value for name, value in outputs.items()}}
    # One entry, since safetensors writes several in any order: the same model gives the same bytes.
    save_file(stored, partial, metadata={"about": json.dumps(about)})
    os.replace(partial, folder / REFERENCE_NAME)


def differences(folder: Path, outputs: dict[str, Any]) -> list[Difference]:
    """How far outputs are from those that a folder stores; a missing or misshapen one is infinitely far."""
    stored = {
        name.removeprefix("output."): value
        for name, value in read_reference(folder / REFERENCE_NAME)[0].items()
        if name.startswith("output.")
    }
    found = []
    for name, expected in stored.items():
        got = outputs.get(name)
        if got is None or got.shape != expected.shape or not bool(got.isfinite().all()):
            found.append(Difference(name, float("inf")))
            continue
        scale = float(expected.abs().max()) or 1.0
        found.append(Difference(name, float((got - expected).abs().max()) / scale))
    return found
