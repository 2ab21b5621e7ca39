"""What is known of the labels of studies: 1, 0, or nothing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.modeling_selip.supervised_loss_selip import UNKNOWN
from selip.processing.row_files import read_rows

MIN_PER_CLASS = 5
"""A label is learned if so many training studies have it, and so many are known to lack it."""
_SIDES = re.compile(r"\b(left|right|l|r)\b|左|右", re.IGNORECASE)
_KNOWN = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}
_NOT_KNOWN = {"", "none", "nan"}


@dataclass(frozen=True)
class KnownLabels:
    """Labels of studies.

    Attributes:
        by_study: 1 or 0 by label, by study id; a label that is not there is not known, if `lacking` is None.
        lacking: What a label is that a study does not name: 0, or None = not known.
        names: All labels that occur.
    """

    by_study: Mapping[str, Mapping[str, int]]
    lacking: int | None
    names: tuple[str, ...]

    def vector(self, study_id: str, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """(K,) labels of a study by name: 1, 0, or -100 where it is not known."""
        known = self.by_study.get(study_id)
        if known is None:
            return np.full(len(names), UNKNOWN, dtype=np.float32)
        otherwise = UNKNOWN if self.lacking is None else self.lacking
        return np.array([known.get(name, otherwise) for name in names], dtype=np.float32)

    def matrix(self, study_ids: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.float32]:
        """(N, K) of `vector`."""
        rows = [self.vector(study_id, names) for study_id in study_ids]
        return np.stack(rows) if rows else np.zeros((0, len(names)), dtype=np.float32)


def labels_of_table(rows: Iterable[Mapping[str, Any]]) -> KnownLabels:
    """The labels that a studies table says its studies have; all others they lack.

    Args:
        rows: Rows with `study_id` and `labels`.
    """
    by_study = {row["study_id"]: dict.fromkeys(row["labels"], 1) for row in rows}
    return KnownLabels(by_study, 0, tuple(sorted({name for known in by_study.values() for name in known})))


def read_labels(path: Path) -> KnownLabels:
    """Labels from a table of a column `study_id` and one a label.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no table, has no column study_id or no label, names a study twice, or has a cell that is
            neither 1 nor 0 nor empty.
    """
    by_study: dict[str, dict[str, int]] = {}
    names: dict[str, None] = {}
    for place, row in read_rows(path):
        if not row.get("study_id"):
            raise ValueError(f"{place}: expected a study_id, got none; columns are {', '.join(row)}")
        study_id = str(row["study_id"])
        if study_id in by_study:
            raise ValueError(f"{place}: expected each study once, got {study_id} again")
        cells = {name: str(cell).strip().lower() for name, cell in row.items() if name != "study_id"}
        for name, cell in cells.items():
            if cell not in _KNOWN and cell not in _NOT_KNOWN:
                raise ValueError(f"{place}: expected 1, 0 or nothing for {name!r}, got {cell!r}")
        names |= dict.fromkeys(cells)
        by_study[study_id] = {name: _KNOWN[cell] for name, cell in cells.items() if cell in _KNOWN}
    if not names:
        raise ValueError(f"expected a column study_id and one for each label in {path}, got no label")
    return KnownLabels(by_study, None, tuple(names))


def choose_names(labels: KnownLabels, study_ids: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The labels that can be learned.

    Args:
        labels: All that is known.
        study_ids: All training studies, of whatever share of them is learned from later.
        wanted: Labels asked for; none: all that enough studies have and lack.

    Raises:
        ValueError: One that is asked for does not occur, or has one kind of study only; or there is none.
    """
    unknown = [name for name in wanted if name not in labels.names]
    if unknown:
        raise ValueError(f"expected labels of {', '.join(labels.names)}, got {', '.join(map(repr, unknown))}")
    names = tuple(wanted) or labels.names
    values = labels.matrix(study_ids, names)
    smaller = np.minimum((values == 1).sum(0), (values == 0).sum(0))
    if wanted:
        single = [name for name, count in zip(names, smaller, strict=True) if count == 0]
        if single:
            raise ValueError(
                f"expected training studies with and without each label, got one kind only for {', '.join(single)}"
            )
        return names
    chosen = tuple(name for name, count in zip(names, smaller, strict=True) if count >= MIN_PER_CLASS)
    if not chosen:
        raise ValueError(
            f"expected a label that {MIN_PER_CLASS} training studies have and {MIN_PER_CLASS} lack, got none among "
            f"{len(names)} labels of {len(study_ids)} studies; name labels by data.label_names to go without"
        )
    return chosen


def sided(names: Iterable[str]) -> list[str]:
    """The labels that say a side, which a mirror image would make wrong."""
    return [name for name in names if _SIDES.search(name)]
