"""Patient-disjoint splits from a stable hash of the patient id.

The split of a patient depends on the salt, the fractions and that patient's id only. Two studies of a patient can
therefore never be in two splits, and adding or removing patients never moves another patient.
"""

import csv
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

SPLITS = ("train", "validation", "test")
DEFAULT_SALT = "selip"
DEFAULT_FRACTIONS = (0.80, 0.05, 0.15)


def check_fractions(fractions: Sequence[float]) -> None:
    """Check the shares of the splits.

    Args:
        fractions: Shares of the patients in train, validation and test, each in [0, 1], summing to 1.

    Raises:
        ValueError: Not three numbers, one outside [0, 1], or a sum other than 1.
    """
    if len(fractions) != len(SPLITS):
        raise ValueError(f"fractions: expected {len(SPLITS)} numbers ({', '.join(SPLITS)}), got {len(fractions)}")
    if not all(0.0 <= fraction <= 1.0 for fraction in fractions):  # NaN fails this comparison too
        raise ValueError(f"fractions: expected numbers in [0, 1], got {tuple(fractions)}")
    if not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise ValueError(f"fractions: expected a sum of 1, got {sum(fractions):.6g} from {tuple(fractions)}")


def split_position(patient_id: str, salt: str = DEFAULT_SALT) -> float:
    """Return the place of a patient in [0, 1), uniform over ids: sha256 of salt, NUL and id.

    53 bits are used, as many as a float64 holds, so the result never rounds up to 1.
    """
    digest = hashlib.sha256(f"{salt}\0{patient_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def stated_splits(participants: Path) -> dict[str, str]:
    """Read the splits that a data set states itself, in a column `split` of its `participants.tsv` (BIDS).

    A data set whose splits differ in more than chance (other scanners in test, say) states them; the rule below must
    then not draw others.

    Args:
        participants: The file; it need not exist, nor have the column.

    Returns:
        Split by participant id. Rows with `n/a` are left out.

    Raises:
        ValueError: A value is not a split, a patient has two, or the column `participant_id` is missing.
    """
    if not participants.is_file():
        return {}
    splits: dict[str, str] = {}
    with participants.open(encoding="utf-8-sig", newline="") as file:
        for line, row in enumerate(csv.DictReader(file, delimiter="\t"), start=2):
            split = row.get("split")
            if split in (None, "", "n/a"):
                continue
            where = f"{participants}, line {line}"
            patient_id = row.get("participant_id")
            if not patient_id:
                raise ValueError(f"{where}: expected a value in the column participant_id beside a split, got none")
            if split not in SPLITS:
                raise ValueError(f"{where}: expected a split of {', '.join(SPLITS)} or n/a, got {split!r}")
            if splits.setdefault(patient_id, split) != split:
                raise ValueError(f"{where}: {patient_id} has two splits; give each patient one")
    return splits


def assign_split(patient_id: str, *, salt: str = DEFAULT_SALT, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> str:
    """Return the split of a patient.

    Args:
        patient_id: Identifier that all studies of the patient share.
        salt: Text hashed with the id.
        fractions: Shares of train, validation and test, as `check_fractions` demands.

    Returns:
        "train", "validation" or "test".

    Raises:
        ValueError: The fractions are not valid, or the id is empty.
    """
    check_fractions(fractions)
    if not patient_id:
        raise ValueError("patient_id: expected a non-empty id; an empty one would put all patients into one split")
    position = split_position(patient_id, salt)
    upper = 0.0
    chosen = SPLITS[0]
    for name, fraction in zip(SPLITS, fractions, strict=True):
        if fraction == 0.0:
            continue
        chosen = name  # the last split with a share takes what float rounding leaves below 1
        upper += fraction
        if position < upper:
            break
    return chosen
