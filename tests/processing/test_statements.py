"""Statements: what a text says in canonical terms agrees with its words, and denials are those that hold."""

import itertools

import pytest

from selip.processing.findings import Finding, Signal, StructuredReport
from selip.processing.laterality import swap_laterality
from selip.processing.rendering import finding_texts, impression_text, series_text, study_text
from selip.processing.statements import Statement, denials
from selip.processing.vocabulary import load_terms

BLEED = Finding(finding="hemorrhage", site="thalamus", laterality="left")
MASS = Finding(finding="mass", site="frontal lobe", laterality="right", certainty="possible", count=3, size_mm=8)


def denied(finding: str, site: str = "brain", laterality: str = "none") -> Finding:
    return Finding.model_validate(
        {"finding": finding, "site": site, "laterality": laterality, "certainty": "absent", "quote": "words"}
    )


def report(*findings: Finding, normal: bool = False) -> StructuredReport:
    return StructuredReport(normal=normal, findings=list(findings), impression=["Mass."])


def test_every_finding_but_a_status_has_a_family() -> None:
    """Invariant: families name known terms, each once; a status has none."""
    terms = load_terms().findings
    assert {name for name, term in terms.items() if term.family is None} == {
        name for name, term in terms.items() if term.kind == "status"
    }
    assert {term.family for term in terms.values()} >= {"tumor", "infarct", "unspecific"}


def test_equal_clauses_state_the_same() -> None:
    """Invariant: two findings are one clause if and only if they are one statement, whatever words can differ in."""
    axes = {
        "size_mm": [None, 3.0, 8.0, 40.0],
        "count": ["none", 1, 2, 5, "multiple", "few"],
        "certainty": ["present", "possible"],
        "severity": ["none", "mild"],
        "acuity": ["none", "acute", "chronic"],
        "morphology": [[], ["small"], ["marked"], ["patchy"]],
        "signals": [[], [{"sequence": "DWI", "signal": "hyper"}], [{"sequence": "any", "signal": "hyper"}]],
    }
    pairs = set()
    for values in itertools.product(*axes.values()):
        finding = Finding.model_validate(
            {"finding": "acute infarct", "site": "pons", **dict(zip(axes, values, strict=True))}
        )
        item = series_text(report(finding), "DWI", "en")
        assert item is not None
        pairs.add((item.clauses[0], item.statements[0]))
    assert len(pairs) == len({clause for clause, _ in pairs}) == len({said for _, said in pairs}) > 50


def test_statements_are_those_of_the_text() -> None:
    """Invariant: a text states its own sequence's signals; a finding's text that finding; a study's text all."""
    signals = [Signal(sequence="FLAIR", signal="hypo"), Signal(sequence="SWI", signal="hypo")]
    both = report(BLEED.model_copy(update={"signals": signals}), MASS)
    flair = series_text(both, "FLAIR", "en")
    assert flair is not None
    assert [(said.term, said.sequence, said.signals) for said in flair.statements] == [
        ("mass", "FLAIR", frozenset()),
        ("hemorrhage", "FLAIR", frozenset({("FLAIR", "hypo")})),
    ]
    assert flair.statements[0].details == {"possible", "multiple", "small"}
    assert [item.statements for item in finding_texts(both, "FLAIR", "en")] == [(each,) for each in flair.statements]
    study = study_text(both, "en")
    impression = impression_text(both, "en")
    assert study is not None
    assert impression is not None
    assert study.statements == impression.statements
    assert study.statements[1].signals == {("FLAIR", "hypo"), ("SWI", "hypo")}
    assert study.statements[1].sequence is None


def test_normal_texts_state_one_thing() -> None:
    """Invariant: every normal text has the one statement `normal`, of its sequence, and denies nothing."""
    normal = report(denied("mass"), normal=True)
    for sequence in ("T1w", "FLAIR", "unknown"):
        item = series_text(normal, sequence, "en")
        assert item is not None
        assert item.statements == (Statement("normal", "brain", sequence=sequence),)
    assert study_text(normal, "en").statements == (Statement("normal", "brain"),)


def test_denials_of_what_the_sequence_shows_are_kept() -> None:
    """Invariant: a series text carries the denials that its sequence could contradict, a study text all of them."""
    both = report(MASS, denied("hemorrhage"), denied("acute infarct"))
    found = {
        sequence: {said.term for said in series_text(both, sequence, "en").statements if said.is_denied}
        for sequence in ("T1w", "T2w")
    }
    assert found == {"T1w": set(), "T2w": set()}  # hemorrhage is `yes` on SWI, acute infarct on DWI and ADC
    both = report(BLEED, denied("microbleed"), denied("acute infarct"))
    assert {s.term for s in series_text(both, "SWI", "en").statements if s.is_denied} == {"microbleed"}
    assert {s.term for s in study_text(both, "en").statements if s.is_denied} == {"microbleed", "acute infarct"}


@pytest.mark.parametrize(
    ("site", "laterality", "is_exception"),
    [
        ("brain", "none", True),  # "no hemorrhage" beside a thalamic one: no other one
        ("thalamus", "left", True),
        ("thalamus", "bilateral", True),
        ("thalamus", "right", False),  # the other side
        ("pons", "none", False),  # another place
    ],
)
def test_a_denial_with_an_exception_of_its_own_is_none(site: str, laterality: str, is_exception: bool) -> None:
    """Invariant: what a report both says and denies of one place is no denial, so no text contradicts itself."""
    made = denials([denied("hemorrhage", site, laterality)], [BLEED])
    assert (made == ()) == is_exception


def test_mirror_image_swaps_statements() -> None:
    """Invariant: sides of statements, denied ones too, are exchanged with those of the text; twice is nothing."""
    item = study_text(report(BLEED, denied("mass", "frontal lobe", "left")), "en")
    assert item is not None
    mirrored = swap_laterality(item)
    assert [said.laterality for said in mirrored.statements] == ["right", "right"]
    assert swap_laterality(mirrored) == item
