"""Chinese sentences of our own whose findings are written down by hand."""

import pytest

from selip.processing.findings import Finding, StructuredReport
from selip.processing.laterality import swap_laterality
from selip.processing.rules.structurer import structure_report


def read(findings: str, impression: str = "") -> list[Finding]:
    return structure_report(findings, impression, "zh").findings


def keys(findings: str, impression: str = "") -> set[tuple[str, str, str, str]]:
    return {(f.finding, f.site, f.laterality, f.certainty) for f in read(findings, impression)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("颅内未见出血、占位及脑积水。", ["hemorrhage", "mass", "hydrocephalus"]),
        ("脑室系统未见扩张。", ["ventricular dilation"]),
        ("脑沟不宽，中线结构居中。", ["sulcal widening", "midline shift"]),
        ("中线结构无移位。", ["midline shift"]),
        ("脑积水：无。", ["hydrocephalus"]),
        ("DWI未见异常高信号。", ["signal abnormality"]),
        ("增强扫描未见异常强化。", ["abnormal enhancement"]),
    ],
)
def test_negation_covers_the_list(text: str, expected: list[str]) -> None:
    """Invariant: every item of a denied list is absent, and a report of nothing but denials is normal."""
    report = structure_report(text, "", "zh")
    assert sorted(f.finding for f in report.findings) == sorted(expected)
    assert {f.certainty for f in report.findings} == {"absent"}
    assert report.normal


@pytest.mark.parametrize("text", ["左侧丘脑见陈旧性脑梗死，未见占位效应。", "未见占位效应，左侧丘脑见陈旧性脑梗死。"])
def test_negation_ends_with_its_clause(text: str) -> None:
    """Invariant: a denial reaches neither back nor across a comma."""
    found = {(f.finding, f.certainty) for f in read(text)}
    assert found == {("mass effect", "absent"), ("chronic infarct", "present")}


def test_all_normal_is_told_from_a_denied_finding() -> None:
    """未见异常 says that a site is normal; 未见异常信号 denies a signal there."""
    assert keys("双侧小脑半球未见异常。") == {("normal", "cerebellar hemisphere", "bilateral", "present")}
    assert keys("双侧小脑半球未见异常信号。") == {
        ("signal abnormality", "cerebellar hemisphere", "bilateral", "absent")
    }


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ("右侧额叶占位，考虑胶质瘤。", "probable"),
        ("右侧额叶占位，胶质瘤可能性大。", "probable"),
        ("右侧额叶占位，胶质瘤可能。", "possible"),
        ("右侧额叶占位，胶质瘤不除外。", "possible"),
        ("右侧额叶占位，胶质瘤待排。", "possible"),
        ("右侧额叶胶质瘤。", "present"),
        ("右侧额叶未见胶质瘤。", "absent"),
    ],
)
def test_levels_of_certainty(text: str, certainty: str) -> None:
    """Invariant: the cue before or behind a finding decides its certainty; it stands where the lesion stands."""
    assert ("glioma", "frontal lobe", "right", certainty) in keys(text)


def test_a_side_covers_its_list_and_paired_sites_only() -> None:
    assert keys("双侧基底节区、脑干及左侧小脑半球见腔隙灶。") == {
        ("lacune", "basal ganglia", "bilateral", "present"),
        ("lacune", "brainstem", "none", "present"),
        ("lacune", "cerebellar hemisphere", "left", "present"),
    }
    assert keys("脑桥右侧急性梗死。") == {("acute infarct", "pons", "right", "present")}
    assert keys("额叶（左）：脓肿。") == {("abscess", "frontal lobe", "left", "present")}


def test_compound_lobes_and_compartments() -> None:
    """额颞顶叶 are three sites; 额叶皮层下 is the lobe; under the bone is the space, not the lobe."""
    assert {site for _, site, _, _ in keys("右侧额颞顶叶脑挫裂伤。")} == {
        "frontal lobe",
        "temporal lobe",
        "parietal lobe",
    }
    assert keys("左侧额叶皮层下缺血灶。") == {("ischemic change", "frontal lobe", "left", "present")}
    assert keys("左侧额颞部慢性硬膜下血肿。") == {("subdural hematoma", "subdural space", "left", "present")}


def test_relaxation_times_are_signals_of_the_weighted_images() -> None:
    """A long T1 is dark on T1w, a long T2 bright on T2w; clauses behind add to the same lesion."""
    (lesion,) = read(
        "左侧丘脑见斑片状长T1稍长T2信号影，FLAIR呈高信号，DWI呈高信号，ADC图呈低信号，大小约1.2cm×0.8cm。"
    )
    assert [(s.sequence, s.signal) for s in lesion.signals] == [
        ("T1w", "hypo"),
        ("T2w", "hyper"),
        ("FLAIR", "hyper"),
        ("DWI", "hyper"),
        ("ADC", "hypo"),
    ]
    assert (lesion.size_mm, lesion.morphology) == (12.0, ["patchy"])


def test_what_goes_with_a_lesion_stands_where_it_stands() -> None:
    found = keys("左侧颞叶见一肿块，周围见水肿，左侧侧脑室受压，中线结构右移约6mm。增强扫描病灶呈环形强化。")
    assert found == {
        ("mass", "temporal lobe", "left", "present"),
        ("edema", "temporal lobe", "left", "present"),
        ("mass effect", "lateral ventricle", "left", "present"),
        ("midline shift", "midline", "right", "present"),
    }
    mass = read("左侧颞叶见一肿块，周围见水肿。增强扫描病灶呈环形强化。")[0]
    assert [(s.sequence, s.signal) for s in mass.signals] == [("T1c", "enhancing")]
    assert (mass.count, mass.morphology) == (1, ["ring"])


def test_the_largest_of_a_group_is_an_entry_of_its_own() -> None:
    """It has the group's term and signals, its own place and size."""
    group, largest = read("双侧大脑半球见多发结节状长T1长T2信号影，最大者位于右侧枕叶，直径约18mm。")
    assert (group.site, group.laterality, group.count) == ("cerebral hemisphere", "bilateral", "multiple")
    assert (largest.site, largest.laterality, largest.count, largest.size_mm) == ("occipital lobe", "right", 1, 18.0)
    assert largest.signals == group.signals


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("脑室系统轻度扩张。", "severity", "mild"),
        ("左侧额叶明显水肿。", "severity", "severe"),
        ("左侧额叶胶质瘤较前增大。", "change", "larger"),
        ("右侧顶叶新出现结节。", "change", "new"),
        ("左侧基底节区出血（亚急性期）。", "acuity", "subacute"),
        ("脑内多发缺血灶。", "count", "multiple"),
        ("左侧额叶见3个结节。", "count", 3),
    ],
)
def test_attributes(text: str, field: str, value: object) -> None:
    assert getattr(read(text)[0], field) == value


def test_impression_repeats_are_merged() -> None:
    """A diagnosis already described with its side is not listed twice, list numbers are dropped."""
    report = structure_report("左侧丘脑急性脑梗死。", "1.左侧丘脑急性脑梗死；2.脑萎缩。", "zh")
    assert sorted(f.finding for f in report.findings) == ["acute infarct", "atrophy"]
    assert report.impression == ["左侧丘脑急性脑梗死；", "脑萎缩。"]


TEXT = "右侧额叶见不规则形肿块，大小约4cm×3cm，左侧侧脑室受压。双侧乳突炎。脑桥左侧见腔隙灶。"


def test_quotes_are_verbatim_and_sides_swap_with_the_text() -> None:
    """Invariant: each quote stands in the text; the mirrored text has the mirrored findings."""
    for finding in read(TEXT):
        assert finding.quote
        assert finding.quote in TEXT
    other = {"left": "right", "right": "left"}
    mirrored = {(t, s, other.get(side, side), c) for t, s, side, c in keys(TEXT)}
    assert keys(swap_laterality(TEXT)) == mirrored


def test_order_of_sentences_does_not_matter() -> None:
    """Sentences that each name their place are read the same in any order."""
    parts = ["左侧额叶见脑膜瘤。", "双侧上颌窦黏膜增厚。", "脑室系统未见扩张。"]
    assert keys("".join(parts)) == keys("".join(reversed(parts)))


def test_wide_and_narrow_letters_are_the_same() -> None:
    assert keys("左侧丘脑见长Ｔ１长Ｔ２信号，大小约１２ｍｍ。") == keys("左侧丘脑见长T1长T2信号，大小约12mm。")


def test_any_text_gives_a_valid_report() -> None:
    """Invariant: odd input is read without an error, and empty input has no findings."""
    for text in (
        "",
        " \n",
        "。",
        "未见未见",
        "左侧",
        "肿块" * 400,
        "（（（",
        "1.",
        "T2",
        "×5mm",
        "\x00",
        "No mass.",
        "：无",
    ):
        report = structure_report(text, text, "zh")
        assert StructuredReport.model_validate_json(report.model_dump_json()) == report
    assert structure_report("", "", "zh").findings == []
