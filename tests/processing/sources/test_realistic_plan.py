"""Plans of the realistic form: rates, age, what only the test split has, and what a minimal pair changes."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from selip.processing.sources.simulated.realistic.kinds import KINDS, SITES
from selip.processing.sources.simulated.realistic.pairs import CHANGES, Partner, draw_partner
from selip.processing.sources.simulated.realistic.plan import is_held_out, kind_of
from selip.processing.sources.simulated.realistic.scanners import SEEN, SEQUENCES, UNSEEN
from selip.processing.sources.simulated.realistic.study import Visit, draw_visit
from selip.processing.sources.splits import assign_split

VISITS = 3000


@cache
def visits() -> tuple[Visit, ...]:
    return tuple(draw_visit(7, number, 1, "mixed") for number in range(1, VISITS + 1))


def named(visit: Visit) -> list[tuple[str, str]]:
    return [(finding.kind.term, finding.kind.variant) for finding in visit.plan.findings]


def test_two_visits_in_five_are_normal() -> None:
    """40 % have no finding, the others one to four of different terms, and the old more than the young."""
    counts = np.array([len(visit.plan.findings) for visit in visits()])
    assert (counts == 0).mean() == pytest.approx(0.40, abs=0.03)
    assert set(counts) == {0, 1, 2, 3, 4}
    ages = np.array([visit.patient.age for visit in visits()])
    assert (counts[ages < 40] == 0).mean() > (counts[ages > 70] == 0).mean() + 0.15
    for visit in visits():
        terms = [term for term, _ in named(visit)]
        assert len(set(terms)) == len(terms)


def test_kinds_are_frequent_by_rank() -> None:
    """All kinds occur; counts fall with the rank (Spearman's rho below -0.85) and the first is ten times the last."""
    counts = Counter(kind for visit in visits() for kind in named(visit))
    ordered = np.array([counts[kind.term, kind.variant] for kind in KINDS])
    assert ordered.min() > 0
    ranks = np.argsort(np.argsort(ordered))
    assert np.corrcoef(ranks, np.arange(len(KINDS)))[0, 1] < -0.85
    assert ordered[0] > 10 * ordered[-1]


def test_age_goes_with_what_age_brings() -> None:
    """Atrophy and white matter lesions are frequent in the old, plaques in the young, three times at least."""

    def rate(term: str, low: int, high: int) -> float:
        group = [visit for visit in visits() if low <= visit.patient.age < high]
        return float(np.mean([any(name == term for name, _ in named(visit)) for visit in group]))

    for term in ("atrophy", "white matter lesion"):
        assert rate(term, 70, 95) > 3.0 * max(rate(term, 18, 50), 0.005)
    assert rate("demyelinating plaque", 20, 50) > 3.0 * rate("demyelinating plaque", 60, 95)


def test_sites_are_those_of_the_lexicon_and_many() -> None:
    """At least fourteen sites inside the brain occur, each with both sides."""
    drawn = {(finding.site.term, finding.side) for visit in visits() for finding in visit.plan.findings}
    sided = {site for site, side in drawn if side == "left"} & {site for site, side in drawn if side == "right"}
    assert len(sided) >= 14
    assert {site for site, _ in drawn} <= set(SITES)


def test_the_split_is_that_of_ingest_and_decides_the_scanner() -> None:
    """Reference: `assign_split` with its defaults. Test patients have scanners that no other patient has."""
    for visit in visits():
        assert visit.patient.split == assign_split(f"sub-{visit.patient.number:04d}")
    used = {split: {v.scanner.name for v in visits() if v.patient.split == split} for split in ("train", "test")}
    assert used["train"] == {scanner.name for scanner in SEEN}
    assert used["test"] == {scanner.name for scanner in UNSEEN}
    assert not used["train"] & used["test"]


def test_held_out_combinations_are_in_the_test_split_only() -> None:
    """About an eighth of the test findings; each with its mirror image, and each term and site, among the others."""
    combinations: dict[bool, list[tuple[str, str, str]]] = {True: [], False: []}
    for visit in visits():
        combinations[visit.patient.split == "test"] += [
            (finding.kind.term, finding.site.term, finding.side) for finding in visit.plan.findings
        ]
    held = [one for one in combinations[True] if is_held_out(*one)]
    assert not any(is_held_out(*one) for one in combinations[False])
    assert 0.06 < len(held) / len(combinations[True]) < 0.2
    mirror = {"left": "right", "right": "left"}
    for term, site, side in held:
        assert not is_held_out(term, site, mirror[side])
    assert {term for term, _, _ in held} <= {term for term, _, _ in combinations[False]}


def test_protocols_answer_the_question_behind_the_study() -> None:
    """Two to seven sequences, ADC only beside DWI, SWI wherever microbleeds are, contrast mostly where a tumour is."""
    tumours = []
    for visit in visits():
        assert 2 <= len(visit.sequences) == len(set(visit.sequences))
        assert set(visit.sequences) <= set(SEQUENCES)
        assert "DWI" in visit.sequences or "ADC" not in visit.sequences
        terms = {term for term, _ in named(visit)}
        if "microbleed" in terms:
            assert "SWI" in visit.sequences
        if terms & {"glioma", "meningioma", "metastasis"}:
            tumours.append("T1c" in visit.sequences)
    everyday = np.mean(["T1c" in visit.sequences for visit in visits()])
    assert np.mean(tumours) > 0.85 > 0.5 > everyday


def partners() -> list[tuple[Visit, Partner]]:
    made = []
    for visit in visits():
        if visit.patient.split == "train":
            continue
        told = frozenset(range(len(visit.plan.findings)))
        patient = visit.patient
        partner = draw_partner(visit.plan, told, told, visit.sequences, patient.split, 7, patient.number, 1)
        if partner is not None:
            made.append((visit, partner))
    return made


def test_a_minimal_pair_changes_one_finding_in_one_way() -> None:
    """Everything but the changed finding is equal, and of that only side, size or tissue; all four changes occur."""
    counted: Counter[str] = Counter()
    for visit, partner in partners():
        counted[partner.change] += 1
        before, after = dict(visit.plan.numbered), dict(partner.plan.numbered)
        one = before.pop(partner.item)
        other = after.pop(partner.item, None)
        assert before == after
        if partner.change == "removed":
            assert other is None
        elif partner.change == "side":
            assert other == replace(one, side={"left": "right", "right": "left"}[one.side])
        elif partner.change == "size":
            assert other == replace(one, diameter_mm=2.0 * one.diameter_mm)
        else:
            assert other is not None
            assert other == replace(one, kind=other.kind)
            assert set(kind_of(other).signals) != set(kind_of(one).signals)
            assert (kind_of(other).halo_mm, other.kind.fills_sulci) == (kind_of(one).halo_mm, one.kind.fills_sulci)
    assert set(counted) == set(CHANGES)
    assert min(counted.values()) > 20


def test_what_the_report_does_not_tell_rightly_is_not_changed() -> None:
    """With no finding told there is no partner; with one told it is that one, and not its size, which is not told."""
    for visit, _ in partners()[:60]:
        draw = (visit.sequences, visit.patient.split, 7, visit.patient.number, 1)
        assert draw_partner(visit.plan, frozenset(), frozenset(), *draw) is None
        for item, _ in visit.plan.numbered:
            partner = draw_partner(visit.plan, frozenset({item}), frozenset(), *draw)
            assert partner is None or (partner.item == item and partner.change != "size")


def test_validation_pairs_have_no_held_out_combination() -> None:
    """Moving a side or changing a term does not bring a combination into the validation split that only test has."""
    checked = 0
    for visit, partner in partners():
        if visit.patient.split == "validation":
            checked += 1
            for _, finding in partner.plan.numbered:
                assert not is_held_out(finding.kind.term, finding.site.term, finding.side)
    assert checked > 20
