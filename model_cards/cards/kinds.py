"""What a folder holds: a model, a model with a head, a structurer, a data set or a benchmark."""

import json
from pathlib import Path
from typing import Any, Literal

CardKind = Literal["model", "head", "structurer", "dataset", "benchmark"]

_HEADS = {"SelipForVolumeClassification", "SelipForVolumeSegmentation"}


def recognise(folder: Path) -> CardKind:
    """The kind of a folder, by the files that only such a folder has.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is none of them.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder, found none at {folder}")
    if (folder / "structurer.json").is_file():
        return "structurer"
    if (folder / "eval.yaml").is_file():
        return "benchmark"
    if (folder / "export.json").is_file():
        return "dataset"
    if (folder / "config.json").is_file():
        architectures = read_json(folder / "config.json").get("architectures") or []
        return "head" if _HEADS & set(architectures) else "model"
    raise ValueError(
        f"expected a checkpoint (config.json), a tuned structurer (structurer.json), or an exported data set "
        f"(export.json) in {folder}, found none; give the folder itself, e.g. RUN/best"
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a folder that a card is written of.

    Raises:
        FileNotFoundError: It is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected the folder of a checkpoint, found no {path.name} in {path.parent}")
    return dict(json.loads(path.read_text(encoding="utf-8")))
