"""English sentences of our own whose findings are written down by hand."""

import pytest

from selip.processing.findings import Finding, StructuredReport, is_abnormal
from selip.processing.laterality import swap_laterality
from selip.processing.rules.structurer import structure_report


def read(findings: str, impression: str = "") -> list[Finding]:
    return structure_report(findings, impression).findings


def keys(findings: str, impression: str = "") -> set[tuple[str, str, str, str]]:
    return {(f.finding, f.site, f.laterality, f.certainty) for f in read(findings, impression)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No haemorrhage, mass or midline shift.", ["hemorrhage", "mass", "midline shift"]),
        (
            "There is no evidence of hydrocephalus or extra-axial collection.",
            ["hydrocephalus", "extra-axial collection"],
        ),
        ("Hydrocephalus is not seen.", ["hydrocephalus"]),
        ("Without edema.", ["edema"]),
        ("No signal abnormality to suggest acute infarct.", ["signal abnormality", "acute infarct"]),
    ],
)
def test_negation_covers_the_list(text: str, expected: list[str]) -> None:
    """Invariant: every item of a denied list is absent, and a report of nothing but denials is normal."""
    report = structure_report(text, "")
    assert [f.finding for f in report.findings] == expected
    assert {f.certainty for f in report.findings} == {"absent"}
    assert report.normal


@pytest.mark.parametrize(
    "text",
    [
        "No mass effect, but there is an old infarct in the left thalamus.",
        "There is an old infarct in the left thalamus without mass effect.",
        "No mass effect; old infarct in the left thalamus.",
        "No mass effect. In the left thalamus there is an old infarct.",
    ],
)
def test_negation_ends_where_the_statement_ends(text: str) -> None:
    """Invariant: a denial reaches neither back nor across "but", a semicolon or a full stop."""
    found = {(f.finding, f.certainty) for f in read(text)}
    assert found == {("mass effect", "absent"), ("chronic infarct", "present")}


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ("Probable acute infarct in the pons.", "probable"),
        ("Findings suggestive of acute infarct in the pons.", "probable"),
        ("Possible acute infarct in the pons.", "possible"),
        ("Acute infarct in the pons cannot be excluded.", "possible"),
        ("This may represent an acute infarct in the pons.", "possible"),
        ("Consistent with an acute infarct in the pons.", "present"),
        ("Acute infarct in the pons.", "present"),
    ],
)
def test_levels_of_certainty(text: str, certainty: str) -> None:
    """Invariant: cue words before or behind the finding set its level."""
    assert keys(text) == {("acute infarct", "pons", "none", certainty)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cyst in the left frontal and parietal lobes.", {("frontal lobe", "left"), ("parietal lobe", "left")}),
        ("Cyst in the left frontal and right parietal lobe.", {("frontal lobe", "left"), ("parietal lobe", "right")}),
        ("A right frontoparietal cyst.", {("frontal lobe", "right"), ("parietal lobe", "right")}),
        ("Gliosis in the thalami bilaterally.", {("thalamus", "bilateral")}),
        ("Cyst of both thalami.", {("thalamus", "bilateral")}),
        ("Cyst in the left thalamus and pons.", {("thalamus", "left"), ("pons", "none")}),
        ("Cyst in the thalamus on the right.", {("thalamus", "right")}),
        ("The left cerebellar hemisphere shows a cyst.", {("cerebellar hemisphere", "left")}),
        ("Cyst in the left frontal subcortical white matter.", {("frontal lobe", "left")}),
    ],
)
def test_sites_and_sides(text: str, expected: set) -> None:
    """Invariant: a side covers the list it leads, unpaired sites have none, lobe before tissue."""
    found = {(site, side) for _, site, side, _ in keys(text)}
    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T2/FLAIR hyperintense lesion in the pons.", {("T2w", "hyper"), ("FLAIR", "hyper")}),
        ("Lesion in the pons with high signal on T2 and FLAIR.", {("T2w", "hyper"), ("FLAIR", "hyper")}),
        ("Lesion in the pons, hypointense on T1 and hyperintense on T2.", {("T1w", "hypo"), ("T2w", "hyper")}),
        (
            "Lesion in the pons with restricted diffusion (DWI hyperintense, ADC hypointense).",
            {("DWI", "hyper"), ("DWI", "restricted"), ("ADC", "hypo")},
        ),
        ("Lesion in the pons with restricted diffusion.", {("DWI", "restricted")}),
        ("Enhancing lesion in the pons.", {("T1c", "enhancing")}),
        ("Hyperintense lesion in the pons.", {("any", "hyper")}),
        ("There is a lesion in the pons. It is dark on T1.", {("T1w", "hypo")}),
        (
            "Lesion in the pons, hypointense on T1 and T2/FLAIR hyperintense.",
            {("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper")},
        ),
        ("Increased T2 signal in the pons.", {("T2w", "hyper")}),
        ("Lesion in the pons, hyperintense on T2, FLAIR hypointense.", {("T2w", "hyper"), ("FLAIR", "hypo")}),
    ],
)
def test_signals_go_with_their_sequences(text: str, expected: set) -> None:
    """Invariant: one lesion in the pons, with exactly these pairs of sequence and signal."""
    found = read(text)
    assert [(f.finding, f.site) for f in found] == [("signal abnormality", "pons")]
    assert {(s.sequence, s.signal) for s in found[0].signals} == expected


@pytest.mark.parametrize(
    ("text", "size_mm"),
    [
        ("A 1.2 x 0.8 cm cyst in the pons.", 12.0),
        ("Cyst in the pons measuring 4 mm.", 4.0),
        ("A 5x6x4cm pontine cyst.", 60.0),
    ],
)
def test_size_is_the_largest_dimension_in_mm(text: str, size_mm: float) -> None:
    """Invariant: centimetres become millimetres and the largest dimension counts."""
    assert [f.size_mm for f in read(text)] == [size_mm]


def test_attributes_of_one_statement() -> None:
    """Invariant: age, severity, shape, change and count reach the finding they stand beside."""
    (infarct,) = read("There is a new small patchy acute infarct in the right insula.")
    assert (infarct.acuity, infarct.change, infarct.morphology, infarct.count) == (
        "acute",
        "new",
        ["patchy", "small"],
        1,
    )
    (oedema,) = read("Severe oedema of the left temporal lobe.")
    assert (oedema.finding, oedema.severity) == ("edema", "severe")
    assert [f.count for f in read("Multiple cavernomas in the pons.")] == ["multiple"]


def test_description_and_unhedged_diagnosis_are_one_entry() -> None:
    """Invariant: "consistent with" joins description and diagnosis, a hedge keeps them apart."""
    (one,) = read("T2 hyperintensity in the left thalamus consistent with acute infarct.")
    assert (one.finding, one.site, one.laterality) == ("acute infarct", "thalamus", "left")
    assert {(s.sequence, s.signal) for s in one.signals} == {("T2w", "hyper")}
    assert keys("In the left thalamus there are several foci of acute infarction.") == {
        ("acute infarct", "thalamus", "left", "present")
    }
    assert keys("T2 hyperintensity in the left thalamus, suspicious for acute infarct.") == {
        ("signal abnormality", "thalamus", "left", "present"),
        ("acute infarct", "thalamus", "left", "probable"),
    }


def test_impression_repeats_are_merged() -> None:
    """Invariant: a lesion told in findings and impression is one entry, and the more specific place wins."""
    expected = {("acute infarct", "thalamus", "left", "present")}
    assert keys("Acute infarct in the left thalamus.", "Acute infarct.") == expected
    assert keys("Acute infarct.", "Left thalamic acute infarct.") == expected
    assert keys("Acute infarct in the left thalamus.", "Acute thalamic infarct.") == expected


def test_quotes_are_verbatim_and_sides_swap_with_the_text() -> None:
    """Invariant: quotes stand in the text; the structure of the mirrored text is the mirrored structure."""
    text = (
        "There is a large left frontal mass with surrounding edema, hyperintense on T2. "
        "Midline shift of 6 mm to the right. Old lacunar infarct in the right corona radiata. No hemorrhage."
    )
    report = structure_report(text, "Left frontal mass, probably glioma.")
    assert all(f.quote and f.quote in text + " Left frontal mass, probably glioma." for f in report.findings)
    assert structure_report(swap_laterality(text), "Right frontal mass, probably glioma.") == swap_laterality(report)
    assert ("midline shift", "midline", "right", "present") in keys(text)
    assert ("glioma", "frontal lobe", "left", "probable") in keys(text, "Left frontal mass, probably glioma.")


def test_british_and_american_spelling_agree() -> None:
    """Invariant: spelling does not change the findings."""
    american = "Subdural hematoma with edema; ischemic change, gray matter tumor."
    british = "Subdural haematoma with oedema; ischaemic change, grey matter tumour."
    assert keys(american) == keys(british) != set()


def test_any_text_gives_a_valid_report() -> None:
    """Invariant: odd input is read without an error, and empty input has no findings."""
    for text in ("", " \n", "。", "no no no", "left", "mass " * 400, "(((", "1.", "T2", "cm x mm 5", "\x00", "无异常"):
        report = structure_report(text, text)
        assert StructuredReport.model_validate_json(report.model_dump_json()) == report
    assert structure_report("", "").findings == []
    assert not any(is_abnormal(f) for f in read("The ventricles are normal. Clear mastoids."))


@pytest.mark.parametrize(
    ("text", "hedged"),
    [
        ("A tumor or abscess cannot be excluded.", {"mass", "abscess"}),
        ("Infarct versus demyelination in the pons.", {"infarct", "demyelinating plaque"}),
        ("Differential considerations: glioma, lymphoma and metastasis.", {"glioma", "lymphoma", "metastasis"}),
        ("A glioma was suspected.", {"glioma"}),
        ("This is likely a glioma.", {"glioma"}),
        ("T2 hyperintense focus in the pons, probably ischemic or demyelinating in nature.", None),
    ],
)
def test_hedges_reach_what_they_doubt(text: str, hedged: set[str] | None) -> None:
    """Invariant: a hedge may stand before, between or behind what it doubts, and never reaches the description."""
    expected = {"ischemic change", "demyelinating plaque"} if hedged is None else hedged
    found = {f.finding for f in read(text) if f.certainty in ("probable", "possible")}
    assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        "Thin subdural collections, probably from overshunting.",
        "Cyst in the pons, which may be related to hypertension.",
        "Lesions in the pons, glioma versus lymphoma.",
    ],
)
def test_a_doubted_cause_does_not_doubt_the_finding(text: str) -> None:
    """Invariant: what is described is present, whatever is thought of its cause."""
    assert read(text)[0].certainty == "present"


@pytest.mark.parametrize(
    "text",
    [
        "History of meningioma.",
        "Status post resection of glioma.",
        "Follow-up MRI to exclude metastasis is advised.",
        "Biopsy revealed glioblastoma.",
        "CT of the head showed an infarct.",
        "Intracranial hypotension is suspected.",
        "Right hemiparesis.",
    ],
)
def test_what_is_no_finding_of_the_scan_is_not_told(text: str) -> None:
    """Invariant: history, advice, other examinations and clinical states give no entry."""
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Opacification of the left mastoid air cells.", ("mastoiditis", "mastoid", "left")),
        ("Opacification of the left maxillary sinus.", ("sinus opacification", "maxillary sinus", "left")),
        ("Prominence of the cortical sulci.", ("sulcal widening", "sulci", "none")),
        ("The lateral ventricles are enlarged.", ("ventricular dilation", "lateral ventricle", "none")),
        ("Narrowing of the left internal carotid artery.", ("stenosis", "carotid artery", "left")),
        ("Narrowing of the fourth ventricle.", ("mass effect", "fourth ventricle", "none")),
    ],
)
def test_the_site_names_the_finding(text: str, expected: tuple[str, str, str]) -> None:
    """Invariant: one word is one finding at one site and another at the next."""
    assert [(f.finding, f.site, f.laterality) for f in read(text)] == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Left frontal subdural hematoma.", {("subdural space", "left")}),
        ("Acute right MCA infarct.", {("cerebral hemisphere", "right")}),
        ("Pineal cyst.", {("pineal region", "none")}),
        ("A midline suprasellar mass.", {("suprasellar region", "midline")}),
        ("Cyst in the left aspect of the pons.", {("pons", "left")}),
        ("Cerebral and cerebellar atrophy.", {("brain", "none"), ("cerebellum", "none")}),
        ("Intracranial aneurysm.", {("vessels", "none")}),
        ("Cyst in the juxtacortical white matter.", {("subcortical white matter", "none")}),
        ("Cyst in the pons, isointense to gray matter.", {("pons", "none")}),
        ("Sinuses and mastoids: cyst in the ethmoid air cells.", {("ethmoid sinus", "none")}),
    ],
)
def test_places_that_are_told_in_another_way(text: str, expected: set[tuple[str, str]]) -> None:
    """Invariant: coverings, territories, phrases that hold a site, comparisons and headings give the guide's site."""
    assert {(f.site, f.laterality) for f in read(text)} == expected


def test_a_verb_can_deny() -> None:
    """Invariant: "does not enhance" is a denied enhancement where the lesion is, and ends at the next verb."""
    found = keys("There is a lesion in the pons. It does not enhance and shows edema.")
    assert ("abnormal enhancement", "pons", "none", "absent") in found
    assert ("edema", "pons", "none", "present") in found


def test_these_findings_of_several_lesions_are_at_the_brain() -> None:
    """Invariant: a doubted cause of several separate lesions is one entry at the brain, of one lesion at its place."""
    several = "Small foci in the left thalamus and right putamen. These may represent infarcts."
    assert ("infarct", "brain", "none", "possible") in keys(several)
    assert ("infarct", "thalamus", "left", "possible") in keys("A focus in the left thalamus. It may be an infarct.")
