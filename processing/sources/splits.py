"""Patient-disjoint splits from a stable hash of the patient id.

The split of a patient depends on the salt, the fractions and that patient's id only. Two studies of a patient can
therefore never be in two splits, and adding or removing patients never moves another patient.
"""

import hashlib
import math
from collections.abc import Sequence

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
