"""Splits: uniform, stable, patient-disjoint, checked."""

import hashlib
import math

import pytest

from selip.processing.sources.splits import SPLITS, assign_split, check_fractions, split_position

PATIENTS = [f"sub-{index:05d}" for index in range(20_000)]


def test_position_is_the_documented_hash() -> None:
    """The position is the leading bits of sha256(salt NUL id) as a fraction: an independent computation agrees."""
    for patient in PATIENTS[:50]:
        hexadecimal = hashlib.sha256(b"salt\x00" + patient.encode()).hexdigest()
        expected = int(hexadecimal, 16) / 2**256
        assert split_position(patient, "salt") == pytest.approx(expected, abs=1e-15)
        assert 0.0 <= split_position(patient, "salt") < 1.0


def test_split_of_known_patients_never_changes() -> None:
    """Published splits must survive new versions: these assignments are part of the format."""
    held_out = {
        "sub-0002": "test",
        "sub-0010": "test",
        "sub-0014": "test",
        "sub-0015": "test",
        "sub-0025": "test",
        "sub-0032": "test",
        "sub-0033": "test",
        "sub-0036": "test",
    }
    found = {f"sub-{index:04d}": assign_split(f"sub-{index:04d}") for index in range(1, 41)}
    assert {patient: split for patient, split in found.items() if split != "train"} == held_out
    assert split_position("sub-0001") == pytest.approx(0.4602166682738176, abs=1e-15)


def test_positions_are_uniform() -> None:
    """The number of ids in each tenth is binomial: 20,000 ids stay within five standard deviations."""
    counts = [0] * 10
    for patient in PATIENTS:
        counts[int(10 * split_position(patient))] += 1
    deviation = math.sqrt(len(PATIENTS) * 0.1 * 0.9)
    assert all(abs(count - len(PATIENTS) / 10) < 5 * deviation for count in counts)


@pytest.mark.parametrize("fractions", [(0.8, 0.05, 0.15), (0.6, 0.2, 0.2), (1.0, 0.0, 0.0), (0.5, 0.0, 0.5)])
def test_shares_follow_the_fractions(fractions: tuple[float, float, float]) -> None:
    """Each split holds its binomial share within five standard deviations; a share of 0 is empty."""
    found = [assign_split(patient, fractions=fractions) for patient in PATIENTS]
    for name, fraction in zip(SPLITS, fractions, strict=True):
        deviation = math.sqrt(len(PATIENTS) * fraction * (1 - fraction))
        assert abs(found.count(name) - fraction * len(PATIENTS)) <= 5 * deviation


def test_salt_gives_an_independent_split() -> None:
    """Under two salts the joint frequencies are the products: within five standard deviations of 0.15 squared."""
    both = sum(assign_split(p, salt="a") == assign_split(p, salt="b") == "test" for p in PATIENTS)
    share = 0.15**2
    assert abs(both - share * len(PATIENTS)) < 5 * math.sqrt(len(PATIENTS) * share * (1 - share))


def test_salt_and_id_cannot_be_confused() -> None:
    """The separator keeps ("ab", "c") and ("a", "bc") apart."""
    assert split_position("c", "ab") != split_position("bc", "a")


def test_raising_the_training_share_moves_nobody_out_of_training() -> None:
    """Splits are nested: who trains at 0.6 also trains at 0.8."""
    small = {p for p in PATIENTS[:2000] if assign_split(p, fractions=(0.6, 0.2, 0.2)) == "train"}
    large = {p for p in PATIENTS[:2000] if assign_split(p, fractions=(0.8, 0.1, 0.1)) == "train"}
    assert small < large


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.8, 0.2), "expected 3 numbers"),
        ((0.8, 0.1, 0.2), "sum of 1"),
        ((1.1, -0.1, 0.0), r"in \[0, 1\]"),
        ((float("nan"), 0.5, 0.5), r"in \[0, 1\]"),
    ],
)
def test_wrong_fractions_are_refused(fractions: tuple[float, ...], message: str) -> None:
    """Every wrong form names what was expected."""
    with pytest.raises(ValueError, match=message):
        check_fractions(fractions)


def test_empty_patient_id_is_refused() -> None:
    """Without ids all patients would silently be one."""
    with pytest.raises(ValueError, match="non-empty id"):
        assign_split("")
