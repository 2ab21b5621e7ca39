"""Each miss and each extra has one cause, couples are what a reader would call taken for each other."""

import random
from typing import Any

import pytest

from selip.processing.findings import Finding
from selip.processing.vocabulary import load_terms
from selip.training.evaluation.structuring_confusions import confusion_table, find_faults
from selip.training.evaluation.structuring_score import match_findings

TEXT = "A mass in the left frontal lobe. No edema. Old lacune in the right thalamus."


def finding(term: str = "mass", site: str = "frontal lobe", side: str = "left", **fields: Any) -> Finding:
    fields = {"quote": "mass in the left frontal lobe", **fields}
    return Finding.model_validate({"finding": term, "site": site, "laterality": side, **fields})


def faults(gold: list[Finding], predicted: list[Finding]) -> list[tuple[str, str, str]]:
    found = find_faults(gold, predicted, match_findings(gold, predicted), TEXT)
    return [(fault.cause, fault.gold, fault.predicted) for fault in found]


@pytest.mark.parametrize(
    ("predicted", "cause"),
    [
        (finding("glioma"), ("finding", "mass", "glioma")),
        (finding(site="parietal lobe"), ("site", "frontal lobe", "parietal lobe")),
        (finding(side="right"), ("laterality", "left", "right")),
        (finding(certainty="possible"), ("certainty", "present", "hedged")),
        (finding(side="none", certainty="absent"), ("several", "left, present", "none, absent")),
        (finding(quote="lacune"), None),
        (finding("lacune", quote="lacune"), "apart"),
        (finding("glioma", certainty="absent"), "apart"),
    ],
)
def test_one_taken_for_the_other(predicted: Finding, cause: Any) -> None:
    """What differs in one thing is named by it; another term is taken for this one only about the same words."""
    found = faults([finding()], [predicted])
    if cause is None:
        assert found == []
    elif cause == "apart":
        assert sorted(name for name, _, _ in found) == ["extra", "missed"]
    else:
        assert found == [cause]


def test_couples_differ_least_over_the_whole_report() -> None:
    """With two misses and two extras of a term each extra goes with the miss that it is closest to."""
    gold = [finding(), finding(site="thalamus", side="right", quote="right thalamus")]
    predicted = [finding(site="thalamus", side="left", quote="right thalamus"), finding(site="parietal lobe")]
    assert faults(gold, predicted) == [("site", "frontal lobe", "parietal lobe"), ("laterality", "right", "left")]


def test_second_mention_of_a_matched_finding_is_doubled() -> None:
    """An extra that says what a matched finding says is not called an invention."""
    assert faults([finding()], [finding(), finding()]) == [("doubled", "", "mass")]
    assert faults([], [finding(certainty="absent")]) == [("extra", "", "mass (absent)")]


def test_fields_of_pairs_are_named() -> None:
    """Every field in which a pair differs is one fault, sets by their elements, and none of these is a miss."""
    gold = finding(severity="mild", count=1, morphology=["round"], signals=[{"sequence": "T2w", "signal": "hyper"}])
    other = finding(size_mm=4, count=1, certainty="present", signals=[{"sequence": "T2w", "signal": "hypo"}])
    found = find_faults([gold], [other], match_findings([gold], [other]), TEXT)
    assert all(fault.is_of_pair for fault in found)
    assert {(fault.cause, fault.gold, fault.predicted) for fault in found} == {
        ("severity", "mild", "none"),
        ("size_mm", "none", "4"),
        ("morphology", "round", ""),
        ("signals", "T2w hyper", ""),
        ("signals", "", "T2w hypo"),
    }


@pytest.mark.parametrize("seed", range(20))
def test_every_unpaired_finding_has_one_cause(seed: int) -> None:
    """Misses and extras are explained once each, pairs are no misses."""
    draw = random.Random(seed)
    sites, terms = list(load_terms().sites)[:4], ("mass", "glioma", "edema")
    gold, predicted = (
        [
            finding(
                draw.choice(terms),
                draw.choice(sites),
                draw.choice(("left", "none")),
                quote=draw.choice(TEXT.split(".")),
            )
            for _ in range(draw.randint(0, 8))
        ]
        for _ in range(2)
    )
    pairs = match_findings(gold, predicted)
    found = [fault for fault in find_faults(gold, predicted, pairs, TEXT) if not fault.is_of_pair]
    missed = [fault.gold_index for fault in found if fault.gold_index is not None]
    extra = [fault.predicted_index for fault in found if fault.predicted_index is not None]
    assert sorted(missed) == sorted(set(range(len(gold))) - {pair.gold for pair in pairs})
    assert sorted(extra) == sorted(set(range(len(predicted))) - {pair.predicted for pair in pairs})


def test_table_counts_all_faults() -> None:
    """Numbers add up to the faults, most frequent first, and reports are named once."""
    one = find_faults([finding()], [finding(side="right")], [], TEXT)
    two = find_faults([finding("edema")], [], [], TEXT)
    table = confusion_table([("a", one[0]), ("a", one[0]), ("b", one[0]), ("b", two[0])])
    assert [(row["cause"], row["n"], row["reports"]) for row in table] == [
        ("laterality", 3, ["a", "b"]),
        ("missed", 1, ["b"]),
    ]
