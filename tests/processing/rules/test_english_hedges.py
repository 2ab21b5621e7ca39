"""Wordings by which a radiologist doubts a finding, and where the doubted finding stands."""

import pytest

from selip.processing.rules.structurer import structure_report

LESION = "There is an enhancing lesion in the right temporal lobe."
TWO = "There are lesions in the right temporal lobe, the pons and the left thalamus."


def doubted(text: str, impression: str = "") -> set[tuple[str, str, str]]:
    """Finding, site and side of what is told as probable or possible."""
    findings = structure_report(text, impression).findings
    hedged = [f for f in findings if f.certainty in ("probable", "possible")]
    return {(f.finding, f.site, f.laterality) for f in hedged}


@pytest.mark.parametrize(
    "wording",
    [
        "This is favored to be a metastasis.",
        "It is thought most likely to represent a metastasis.",
        "A metastasis is the leading consideration.",
        "Metastasis until proven otherwise.",
        "Metastasis favored.",
        "Leading consideration is a metastasis.",
        "It is unclear whether this represents a metastasis.",
        "It was felt that this represented a metastasis.",
        "A metastasis cannot be excluded.",
        "A metastasis is also in the differential.",
        "The possibility of a metastasis should be considered.",
        "DDx: metastasis.",
    ],
)
def test_a_doubted_diagnosis_stands_at_the_lesion_it_explains(wording: str) -> None:
    """Invariant: however the doubt is worded, before or behind, the place is that of the lesion spoken of."""
    assert doubted(f"{LESION} {wording}") == {("metastasis", "temporal lobe", "right")}


@pytest.mark.parametrize(
    "wording",
    ["These are suspicious for metastases.", "The findings suggest metastases.", "Metastases are favored."],
)
def test_a_doubted_diagnosis_of_several_lesions_is_of_the_brain(wording: str) -> None:
    """Invariant: guide, section 5: what points at several separate lesions stands at the brain."""
    assert doubted(f"{TWO} {wording}") == {("metastasis", "brain", "none")}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Right frontal mass, possibly extending into the corpus callosum.", ("mass", "corpus callosum", "none")),
        (
            "Lesion of the pons with questionable involvement of the medulla.",
            ("signal abnormality", "medulla", "none"),
        ),
        (
            "The left insular signal abnormality may extend into the left putamen.",
            ("signal abnormality", "putamen", "left"),
        ),
        ("There are lesions in the pons and possibly the midbrain.", ("signal abnormality", "midbrain", "none")),
    ],
)
def test_a_place_that_a_lesion_may_have_reached_is_an_entry_of_its_own(text: str, found: tuple[str, str, str]) -> None:
    """Invariant: the lesion is certain where it is, and doubted where it may be."""
    assert doubted(text) == {found}


def test_what_is_less_likely_stands_where_the_likelier_cause_stands() -> None:
    """Invariant: a second cause of the next sentence is one of the same lesion."""
    text = f"{LESION} There is a lesion in the left pons."
    told = doubted(text, "The pontine lesion is favored to be a glioma. A metastasis is less likely.")
    assert told == {("glioma", "pons", "left"), ("metastasis", "pons", "left")}


@pytest.mark.parametrize(
    "text",
    [
        "If acute infarct is suspected, diffusion weighted imaging should be obtained.",
        "Recommend MRV to evaluate for possible venous sinus thrombosis.",
        "He was admitted with suspected meningitis.",
        "The clinical differential diagnosis included stroke, tumor and multiple sclerosis.",
        "MR spectroscopy may help to differentiate tumor from radiation necrosis.",
        "In the clinic meningitis had been suspected.",
        "Old infarct in the left thalamus, likely in the territory of a perforator.",
        "The right mastoid is opacified, a tumor is unlikely.",
        "The previously described possible lesion in the pons is not seen.",
    ],
)
def test_what_is_only_supposed_or_asked_or_unlikely_is_not_doubted(text: str) -> None:
    """Invariant: conditions, advice, the clinic, a doubted place and the unlikely are no hedged findings."""
    assert doubted(text) == set()


@pytest.mark.parametrize(
    ("text", "certain", "doubtful"),
    [
        (
            "The left transverse sinus shows slow flow, thrombosis cannot be ruled out.",
            "flow abnormality",
            "venous thrombosis",
        ),
        ("Left parietal lesion, demyelination favored.", "signal abnormality", "demyelinating plaque"),
        ("Right frontal mass (glioma vs metastasis).", "mass", "glioma"),
        (
            "The lesion is a cyst, probably infectious, and the ventricles are enlarged.",
            "ventricular dilation",
            "infection",
        ),
    ],
)
def test_a_doubt_does_not_reach_over_a_comma_or_a_verb(text: str, certain: str, doubtful: str) -> None:
    """Invariant: what is told before, or in a clause of its own, is certain."""
    levels = {f.finding: f.certainty for f in structure_report(text, "").findings}
    assert levels[certain] == "present"
    assert levels[doubtful] in ("probable", "possible")
