"""The forms in which studies come in: sorted out here, before anything is read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .nifti_selip import is_volume
from .sequences_selip import SEQUENCE_NAMES, sequence_id

SERIES_KEYS = frozenset({"volume", "sequence", "series_id", "b_value"})
"""Keys of a series given as a dict, those of a studies table, where `b_value` served to name the sequence."""
FORMS = (
    'write {"T1w": volume, "FLAIR": volume} for one study and [{"T1w": volume}, {"T1w": volume}] for two; '
    "an array needs its affine: (array, affine)"
)
"""How to write studies, for the messages."""


@dataclass(frozen=True)
class SeriesInput:
    """One series of a study.

    Attributes:
        volume: Path, nibabel image, NIfTI bytes, `datasets` NIfTI cell, or tuple (array (x, y, z), affine (4, 4)).
        sequence: Name from `sequence_names`.
        series_id: Name for error messages.
    """

    volume: Any
    sequence: str = "unknown"
    series_id: str = ""


def as_studies(images: Any, sequence_names: Sequence[str] = SEQUENCE_NAMES) -> list[list[SeriesInput]]:
    """Sort out the accepted forms of input into a list of studies, each a list of series.

    Raises:
        ValueError: A list of bare volumes (one study or many?), an empty list, or an unknown sequence name.
        TypeError: Nothing that could be a study.
    """
    study = _as_study(images, sequence_names)
    if study is not None:
        return [study]
    if not isinstance(images, (list, tuple)):
        raise TypeError(f"expected a volume, a study or a list of studies, got {type(images).__name__}; {FORMS}")
    if not images:
        raise ValueError("expected at least one study, got an empty list")
    studies = []
    for i, item in enumerate(images):
        if is_volume(item) or _as_series(item) is not None:
            raise ValueError(
                f"expected a study at place {i} of the list, got a bare volume or series, and a list of these could "
                f"be one study or many; {FORMS}"
            )
        study = _as_study(item, sequence_names)
        if study is None:
            raise TypeError(f"expected a study at place {i} of the list, got {type(item).__name__}; {FORMS}")
        studies.append(study)
    return studies


def _as_study(value: Any, sequence_names: Sequence[str]) -> list[SeriesInput] | None:
    """Return the series of a value that is one study, None if it is not."""
    if is_volume(value):
        return [SeriesInput(value)]
    single = _as_series(value)
    if single is not None:
        return [single]
    if isinstance(value, Mapping):
        for name in value:
            sequence_id(name, sequence_names)  # raises with the allowed names
        if not value:
            raise ValueError("expected at least one series in a study, got an empty dict")
        return [SeriesInput(volume, name) for name, volume in value.items()]
    if isinstance(value, (list, tuple)) and value:
        series = [_as_series(item) for item in value]
        if all(item is not None for item in series):
            return [item for item in series if item is not None]
    return None


def _as_series(value: Any) -> SeriesInput | None:
    """Return a series given as dict or object. Duck-typed: loaded from a folder, this class exists twice."""
    if isinstance(value, Mapping) and "volume" in value:
        unknown = set(value) - SERIES_KEYS
        if unknown:
            raise TypeError(f"expected a series with keys of {sorted(SERIES_KEYS)}, got also {sorted(unknown)}")
        return SeriesInput(value["volume"], value.get("sequence", "unknown"), value.get("series_id") or "")
    if hasattr(value, "volume") and hasattr(value, "sequence"):
        return SeriesInput(value.volume, value.sequence, value.series_id)
    return None


def place_of(item: SeriesInput, study_id: str) -> str:
    """Name a series for messages: study and series id, or the path the caller gave."""
    name = "/".join(part for part in (study_id, item.series_id) if part)
    if not name and isinstance(item.volume, (str, os.PathLike)):
        return str(item.volume)
    return name or f"the {item.sequence} series"
