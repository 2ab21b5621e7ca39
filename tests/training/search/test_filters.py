"""Filters on findings: the same studies as a loop over the findings picks, and errors that help."""

import itertools

import pytest

from selip.processing.findings import Finding, StructuredReport
from selip.training.search.filters import FindingFilter, filtered_studies


def finding(term="hemorrhage", site="thalamus", **values) -> Finding:
    return Finding(finding=term, site=site, **values)


REPORTS = {
    f"{term}-{site}-{side}-{certainty}": StructuredReport(
        normal=certainty == "absent",
        findings=[finding(term, site, laterality=side, certainty=certainty)],
    )
    for term, site, side, certainty in itertools.product(
        ("hemorrhage", "mass"),
        ("thalamus", "basal ganglia", "putamen"),
        ("left", "right", "bilateral", "none"),
        ("present", "possible", "absent"),
    )
}


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("side", ["left", "bilateral", None])
@pytest.mark.parametrize("site", ["putamen", "basal ganglia", None])
def test_filter_is_a_loop_over_the_findings(side: str | None, site: str | None, present: bool) -> None:
    """Term, site or a site within it, side (bilateral is both), and whether the report says or denies it."""
    within = {"basal ganglia": {"basal ganglia", "putamen"}, "putamen": {"putamen"}}
    expected = set()
    for study_id in REPORTS:
        term, place, found_side, certainty = study_id.split("-")
        if term != "hemorrhage" or (certainty == "absent") == present:
            continue
        if site is not None and place not in within[site]:
            continue
        if side is not None and found_side not in {side, *(["bilateral"] if side == "left" else [])}:
            continue
        expected.add(study_id)
    condition = FindingFilter(finding="hemorrhage", site=site, laterality=side, present=present)
    assert filtered_studies(REPORTS, condition) == expected


def test_conditions_must_meet_in_one_finding() -> None:
    """A left mass and a right hemorrhage are no left hemorrhage; sizes, shapes and ages are those of the finding."""
    study = StructuredReport(
        normal=False,
        findings=[
            finding("mass", laterality="left", size_mm=12.0, morphology=["round"]),
            finding("hemorrhage", laterality="right", acuity="acute", change="resolved"),
            finding("cyst", laterality="right", severity="mild"),
        ],
    )
    assert not FindingFilter(finding="hemorrhage", laterality="left").matches(study)
    assert not FindingFilter(finding="hemorrhage").matches(study), "resolved is not present"
    assert FindingFilter(finding="hemorrhage", change="resolved", present=False).matches(study)
    assert FindingFilter(min_size_mm=12, max_size_mm=12, morphology="round").matches(study)
    assert not FindingFilter(finding="cyst", max_size_mm=100).matches(study), "no size is stated"
    assert not FindingFilter(normal=True).matches(study)
    assert FindingFilter(normal=True).matches(StructuredReport(normal=True))
    assert not FindingFilter().is_active


def test_wrong_filters_name_what_is_meant() -> None:
    """The nearest term; conditions that exclude each other; how many meet each condition where none meets all."""
    with pytest.raises(ValueError, match="'haemorrhage'; did you mean 'hemorrhage'"):
        FindingFilter(finding="haemorrhage")
    with pytest.raises(ValueError, match="unknown site 'thalamuss'; did you mean 'thalamus'"):
        FindingFilter(site="thalamuss")
    with pytest.raises(ValueError, match="no other filter with --normal, got finding"):
        FindingFilter(normal=True, finding="mass")
    with pytest.raises(ValueError, match="--no-present"):
        FindingFilter(change="resolved")
    with pytest.raises(ValueError, match="min_size_mm"):
        FindingFilter(min_size_mm=3, max_size_mm=2)
    with pytest.raises(ValueError, match=r"of 72 .* finding mass 24, severity severe 0"):
        filtered_studies(REPORTS, FindingFilter(finding="mass", severity="severe"))
