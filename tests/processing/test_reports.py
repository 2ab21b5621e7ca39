"""Sections and sentences are slices of the report: nothing is lost, nothing invented."""

import itertools
import random

import pytest

from selip.processing.reports import read_sections, split_sentences


def test_sections_in_the_headings_of_real_reports() -> None:
    """Invariant: each text stands under its heading; text before a heading and without one is findings."""
    text = "EXAM: MRI brain.\nTechnique: T1, T2.\n\nFINDINGS:\nNo mass.\n\nImpression:\n1. Normal.\n2. No bleed.\n"
    assert read_sections(text) == {
        "title": "MRI brain.",
        "technique": "T1, T2.",
        "findings": "No mass.",
        "impression": "1. Normal.\n2. No bleed.",
    }
    assert read_sections("No mass. No findings to explain it.") == {"findings": "No mass. No findings to explain it."}
    assert read_sections("FINDINGS\nA cyst.\nCONCLUSION\nCyst.") == {"findings": "A cyst.", "impression": "Cyst."}
    assert read_sections("") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A 1.2 x 0.8 cm mass. Shift of approx. 5 mm.", ["A 1.2 x 0.8 cm mass.", "Shift of approx. 5 mm."]),
        ("1. Old infarct.\n2. No bleed.", ["Old infarct.", "No bleed."]),
        ("1. Old infarct. 2. No bleed.", ["Old infarct.", "No bleed."]),
        ("- Cyst\n- Gliosis", ["Cyst", "Gliosis"]),
        ("No mass,\nedema or bleed. Normal.", ["No mass,\nedema or bleed.", "Normal."]),
        ("Is it new? Dr. Smith was told.", ["Is it new?", "Dr. Smith was told."]),
        ("", []),
    ],
)
def test_sentence_ends(text: str, expected: list[str]) -> None:
    """Invariant: decimals, abbreviations, list numbers and soft line breaks do not end a sentence."""
    assert [s.text for s in split_sentences(text)] == expected


def test_offsets_point_at_the_text_and_no_letter_is_lost() -> None:
    """Invariant: every sentence is the slice it says, in order, and no letter is outside a sentence."""
    rng = random.Random(0)
    pieces = ["No mass", ". ", "\n", "1. ", "2.5 cm", " ", "\n\n", "Acute infarct", "? ", "- ", "approx. ", ",", "左"]
    for _ in range(500):
        text = "".join(rng.choices(pieces, k=12))
        sentences = split_sentences(text)
        assert all(text[s.start : s.end] == s.text for s in sentences)
        assert all(a.end <= b.start for a, b in itertools.pairwise(sentences))
        kept = "".join(c for s in sentences for c in s.text if c.isalpha())
        assert kept == "".join(c for c in text if c.isalpha())
