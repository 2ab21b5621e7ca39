"""Sequence vocabulary."""

import pytest

from selip.processing.sequences_selip import SEQUENCE_NAMES, sequence_id


def test_ids_are_places_and_zero_is_unknown() -> None:
    """A name's id is its place in the vocabulary; checkpoints depend on the order, so it is spelled out here."""
    assert [sequence_id(name) for name in SEQUENCE_NAMES] == list(range(12))
    assert {n: sequence_id(n) for n in ("unknown", "T1w", "T1c", "T2w", "FLAIR", "DWI", "ADC")} == {
        "unknown": 0,
        "T1w": 1,
        "T1c": 2,
        "T2w": 3,
        "FLAIR": 4,
        "DWI": 5,
        "ADC": 6,
    }


def test_unknown_name_lists_the_allowed_ones() -> None:
    """A misspelt name is an error that tells the right ones, not sequence 0."""
    with pytest.raises(ValueError, match=r"FLAIR.*got 'flair'"):
        sequence_id("flair")
