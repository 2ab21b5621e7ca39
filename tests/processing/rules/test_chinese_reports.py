"""Chinese sentences of our own whose findings are written down by hand, and the shared Chinese gold."""

import json
import random
from pathlib import Path

import pytest

from selip.processing.findings import Finding, StructuredReport, is_abnormal
from selip.processing.laterality import swap_laterality
from selip.processing.reports import split_sentences
from selip.processing.rules.structurer import structure_report
from selip.processing.vocabulary import load_lexicon, load_terms


def read(findings: str, impression: str = "") -> list[Finding]:
    return structure_report(findings, impression, "zh").findings


def keys(findings: str, impression: str = "") -> set[tuple[str, str, str, str]]:
    return {(f.finding, f.site, f.laterality, f.certainty) for f in read(findings, impression)}


def places(findings: str) -> set[tuple[str, str]]:
    return {(f.site, f.laterality) for f in read(findings)}


def signals(findings: str) -> set[tuple[str, str]]:
    (finding,) = read(findings)
    return {(s.sequence, s.signal) for s in finding.signals}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("颅内未见出血、占位及脑积水。", ["hemorrhage", "mass", "hydrocephalus"]),
        ("未见明显脑水肿或异常强化。", ["edema", "abnormal enhancement"]),
        ("脑实质无异常信号。", ["signal abnormality"]),
        ("出血：无。", ["hemorrhage"]),
        ("微出血（-）。", ["microbleed"]),
        ("占位效应不明显。", ["mass effect"]),
        ("中线结构居中。", ["midline shift"]),
        ("脑室不大，脑沟不宽。", ["ventricular dilation", "sulcal widening"]),
        ("双侧海绵窦未见受侵。", ["mass"]),
    ],
)
def test_negation_covers_the_list(text: str, expected: list[str]) -> None:
    """Invariant: every item of a denied list is absent, and a report of nothing but denials is normal."""
    report = structure_report(text, "", "zh")
    assert [f.finding for f in report.findings] == expected
    assert {f.certainty for f in report.findings} == {"absent"}
    assert report.normal


@pytest.mark.parametrize(
    "text",
    [
        "未见占位，左侧丘脑见软化灶。",
        "左侧丘脑软化灶，未见占位。",
        "未见占位；左侧丘脑软化灶。",
        "未见占位。左侧丘脑软化灶。",
        "未见占位但左侧丘脑见软化灶。",
        "除左侧丘脑软化灶外，余脑实质未见占位。",
    ],
)
def test_negation_ends_where_the_statement_ends(text: str) -> None:
    """Invariant: a denial reaches neither back nor across a comma, a semicolon, 但 or a full stop."""
    found = {(f.finding, f.certainty) for f in read(text)}
    assert found == {("mass", "absent"), ("encephalomalacia", "present")}


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ("脑桥急性脑梗死。", "present"),
        ("符合脑桥急性脑梗死。", "present"),
        ("考虑脑桥急性脑梗死。", "probable"),
        ("脑桥急性脑梗死可能性大。", "probable"),
        ("脑桥急性脑梗死首先考虑。", "probable"),
        ("疑脑桥急性脑梗死。", "probable"),
        ("提示脑桥急性脑梗死。", "probable"),
        ("脑桥急性脑梗死可能。", "possible"),
        ("脑桥急性脑梗死不除外。", "possible"),
        ("不除外脑桥急性脑梗死。", "possible"),
        ("脑桥急性脑梗死待排，请结合临床。", "possible"),
        ("脑桥急性脑梗死？", "possible"),
        ("脑桥未见急性脑梗死。", "absent"),
    ],
)
def test_levels_of_certainty(text: str, certainty: str) -> None:
    """Invariant: cue words before or behind the finding set its level, and nothing else changes."""
    assert keys(text) == {("acute infarct", "pons", "none", certainty)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("左侧额叶囊肿。", {("frontal lobe", "left")}),
        ("左额叶囊肿。", {("frontal lobe", "left")}),
        ("额叶（左侧）囊肿。", {("frontal lobe", "left")}),
        ("右侧额颞叶囊肿。", {("frontal lobe", "right"), ("temporal lobe", "right")}),
        ("右侧额、顶叶囊肿。", {("frontal lobe", "right"), ("parietal lobe", "right")}),
        ("左侧额叶及右侧顶叶囊肿。", {("frontal lobe", "left"), ("parietal lobe", "right")}),
        ("双侧丘脑、脑桥囊肿。", {("thalamus", "bilateral"), ("pons", "none")}),
        ("脑桥左侧份囊肿。", {("pons", "left")}),
        ("左侧脑室旁囊肿。", {("periventricular white matter", "left")}),
        ("右侧脑室前角囊肿。", {("lateral ventricle", "right")}),
        ("左侧额叶皮层下囊肿。", {("frontal lobe", "left")}),
        ("左侧颞部颅骨内板下囊肿。", {("extra-axial space", "left")}),
        ("右侧基底节区豆状核囊肿。", {("lentiform nucleus", "right")}),
        ("双侧额叶囊肿，以左侧为著。", {("frontal lobe", "bilateral")}),
        ("囊肿，位于右侧枕叶。", {("occipital lobe", "right")}),
        ("头颅ＭＲＩ：左侧 小脑半球囊肿。", {("cerebellar hemisphere", "left")}),
    ],
)
def test_sites_and_sides(text: str, expected: set[tuple[str, str]]) -> None:
    """Invariant: a side covers its list up to the next side, and unpaired sites only directly beside it."""
    assert places(text) == expected
    assert {f.finding for f in read(text)} == {"cyst"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("左侧额叶长T1长T2信号影。", {("T1w", "hypo"), ("T2w", "hyper")}),
        ("左侧额叶短T1、等T2信号影。", {("T1w", "hyper"), ("T2w", "iso")}),
        ("左侧额叶长T1、T2信号影。", {("T1w", "hypo"), ("T2w", "hyper")}),
        ("左侧额叶稍长T2信号影，FLAIR呈高信号。", {("T2w", "hyper"), ("FLAIR", "hyper")}),
        ("左侧额叶异常信号影，DWI明显高信号、ADC图低信号。", {("DWI", "hyper"), ("ADC", "hypo")}),
        ("左侧额叶信号影，T1WI、T2WI分别呈低、高信号。", {("T1w", "hypo"), ("T2w", "hyper")}),
        ("左侧额叶信号影，T1WI及T2WI均呈等信号。", {("T1w", "iso"), ("T2w", "iso")}),
        ("左侧额叶信号影。T1WI低T2WI混杂信号。", {("T1w", "hypo"), ("T2w", "mixed")}),
        ("左侧额叶信号影，FLAIR呈中心低、边缘高信号。", {("FLAIR", "hypo"), ("FLAIR", "hyper")}),
        ("左侧额叶信号影，弥散受限。", {("DWI", "restricted")}),
        ("左侧额叶信号影。增强扫描病灶明显强化。", {("T1c", "enhancing")}),
        ("左侧额叶高信号。", {("any", "hyper")}),
        ("左侧额叶高信号（T2WI）。", {("T2w", "hyper")}),
        ("头颅MRA：左侧大脑中动脉狭窄。", {("MRA", "none")}),
    ],
)
def test_signals_by_sequence(text: str, expected: set[tuple[str, str]]) -> None:
    """Invariant: each signal word goes with its sequences; relaxation times are read as signals."""
    assert signals(text) == expected


def test_heading_names_the_sequence_of_what_stands_under_it() -> None:
    """Invariant: an angiogram's heading covers its sentences, up to the next heading."""
    found = read("头颅MRA：双侧颈内动脉通畅。左侧大脑中动脉狭窄。脑实质：左侧额叶软化灶。")
    named = {f.finding: {(s.sequence, s.signal) for s in f.signals} for f in found}
    assert named == {"normal": {("MRA", "none")}, "stenosis": {("MRA", "none")}, "encephalomalacia": set()}


def test_attributes_of_a_lesion() -> None:
    """Invariant: shape, size, count, margin, grade and age of the sentences on a lesion come to one entry."""
    (lesion, edema) = read("右侧额叶见2个类圆形肿块，大者约1.8cm×12mm，边界清楚。周围轻度水肿。")
    assert (lesion.finding, lesion.count, lesion.size_mm) == ("mass", 2, 18.0)
    assert set(lesion.morphology) == {"round", "well-defined"}
    assert (edema.finding, edema.site, edema.laterality, edema.severity) == ("edema", "frontal lobe", "right", "mild")
    (clot,) = read("左侧慢性硬膜下血肿，厚约15毫米。")
    assert (clot.acuity, clot.size_mm, clot.laterality) == ("chronic", 15.0, "left")


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("左侧额叶肿块较前增大。", "larger"),
        ("与旧片对比，左侧额叶肿块明显缩小。", "smaller"),
        ("左侧额叶肿块，较前相仿。", "unchanged"),
        ("左侧额叶新发肿块。", "new"),
        ("原左侧额叶肿块已消失。", "resolved"),
        ("左侧额叶肿块，强化较前减低。", "none"),
        ("左侧额叶肿块，信号较前增高。", "none"),
    ],
)
def test_change_words(text: str, change: str) -> None:
    """Invariant: change of size or number since an earlier study is a change, change of signal is none."""
    (finding,) = read(text)
    assert (finding.finding, finding.site, finding.change) == ("mass", "frontal lobe", change)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("脑室扩张。", ("ventricular dilation", "ventricles")),
        ("脑沟增宽。", ("sulcal widening", "sulci")),
        ("侧脑室受压变窄。", ("mass effect", "lateral ventricle")),
        ("中线结构移位。", ("midline shift", "midline")),
        ("大脑中动脉狭窄。", ("stenosis", "middle cerebral artery")),
        ("上颌窦炎。", ("sinusitis", "maxillary sinus")),
        ("上颌窦囊肿。", ("retention cyst", "maxillary sinus")),
        ("乳突积液。", ("mastoiditis", "mastoid")),
        ("筛窦粘膜增厚。", ("mucosal thickening", "ethmoid sinus")),
        ("硬膜下出血。", ("subdural hematoma", "subdural space")),
        ("海马体积缩小。", ("atrophy", "hippocampus")),
    ],
)
def test_one_word_is_another_finding_at_another_site(text: str, expected: tuple[str, str]) -> None:
    """Invariant: words such as 扩张 and 变窄 are named by the structure that they are said of."""
    (finding,) = read(text)
    assert (finding.finding, finding.site) == expected


def test_diagnosis_takes_over_or_stands_beside_its_description() -> None:
    """Invariant: sure diagnosis and description of one statement are one entry; a doubted diagnosis is a second."""
    assert keys("左侧丘脑斑片状长T2信号，符合急性脑梗死。") == {("acute infarct", "thalamus", "left", "present")}
    assert keys("左侧丘脑异常信号，考虑急性脑梗死，转移瘤待排。") == {
        ("signal abnormality", "thalamus", "left", "present"),
        ("acute infarct", "thalamus", "left", "probable"),
        ("metastasis", "thalamus", "left", "possible"),
    }


def test_the_largest_is_an_entry_of_its_own_with_the_signals_of_the_group() -> None:
    """Invariant: a lesion singled out of a group has its own place and size."""
    group, largest = read("双侧小脑半球多发长T2信号影，最大者位于左侧额叶，直径9mm。")
    assert (group.count, group.size_mm) == ("multiple", None)
    assert (largest.site, largest.laterality, largest.count, largest.size_mm) == ("frontal lobe", "left", 1, 9.0)
    assert largest.signals == group.signals


def test_what_is_no_finding_of_this_study_is_not_read() -> None:
    """Invariant: history, advice and clinical diagnoses make no entry."""
    assert read("", "结合脑梗死病史，请结合临床，建议增强扫描除外转移瘤。") == []
    assert [f.finding for f in read("", "左侧额叶胶质瘤术后改变。")] == ["postoperative change"]


REPORTS = [
    (
        "左侧额叶见肿块，大小约3.0cm×2.1cm，边界不清。周围见片状水肿。右侧丘脑软化灶。未见出血。",
        "左额叶占位，考虑胶质瘤。",
    ),
    ("双侧大脑半球对称，脑沟不宽。左侧大脑中动脉闭塞。", "左侧大脑中动脉闭塞。"),
    ("右侧上颌窦粘膜增厚；左侧乳突积液。中线结构右移约4mm。", "1.右侧上颌窦炎。2.左侧乳突炎。"),
]


@pytest.mark.parametrize("report", REPORTS)
def test_mirrored_text_gives_mirrored_findings(report: tuple[str, str]) -> None:
    """Invariant: swapping left and right in the text swaps them in the findings and changes nothing else."""
    mirrored = structure_report(swap_laterality(report[0]), swap_laterality(report[1]), "zh")
    assert mirrored == swap_laterality(structure_report(*report, "zh"))
    assert mirrored != structure_report(*report, "zh")


def test_order_of_independent_sentences_does_not_matter() -> None:
    """Invariant: sentences that name their own sites give the same findings in any order."""
    told = [
        "左侧额叶肿块，大小约12mm。",
        "右侧丘脑软化灶。",
        "脑沟增宽。",
        "未见脑积水。",
        "双侧乳突炎。",
        "脑桥腔隙灶。",
    ]
    expected = {f.model_dump_json() for f in read("".join(told))}
    rng = random.Random(5)
    for _ in range(10):
        assert {f.model_dump_json() for f in read("".join(rng.sample(told, len(told))))} == expected
    assert len(expected) == len(told)


def test_quotes_are_words_of_the_report() -> None:
    """Invariant: quotes are contiguous text of the report, also where blanks and full-width forms were read over."""
    for findings, impression in (*REPORTS, ("左侧 额叶 见 Ｔ２ＷＩ 高信号。 粘膜 增厚。", "")):
        report = structure_report(findings, impression, "zh")
        assert report.findings
        for finding in report.findings:
            assert finding.quote
            assert finding.quote in findings or finding.quote in impression


def test_any_text_gives_a_valid_report() -> None:
    """Invariant: words of the lexicon in any order, cut anywhere, give a report that validates."""
    rng = random.Random(11)
    lexicon = load_lexicon("zh")
    words = [w for group in lexicon.words.values() for term in group.values() for w in term]
    words += (
        [w for w in lexicon.extra["exists"]]
        + list("，。；：（）、？ 0123456789.左右高低长T1T2")
        + ["\n", "较前", "考虑", "12mm"]
    )
    for _ in range(300):
        text = "".join(rng.choices(words, k=rng.randint(0, 40)))
        report = structure_report(text[rng.randint(0, 3) :], text[: rng.randint(0, 60)], "zh")
        assert StructuredReport.model_validate(report.model_dump()) == report
        assert report.normal == (not any(f.certainty != "absent" and is_status_free(f) for f in report.findings))


def is_status_free(finding: Finding) -> bool:
    return load_terms().findings[finding.finding].kind != "status"


def test_normal_report_names_its_structures() -> None:
    """Invariant: statements that a structure is normal are entries of that structure, and the report is normal."""
    report = structure_report(
        "双侧大脑半球对称，脑室、脑池形态正常，灰白质分界清楚。双侧乳突未见异常。", "头颅MRI未见异常。", "zh"
    )
    assert report.normal
    assert not any(is_abnormal(f) for f in report.findings)
    assert {(f.site, f.laterality) for f in report.findings} == {
        ("cerebral hemisphere", "bilateral"),
        ("ventricles", "none"),
        ("basal cisterns", "none"),
        ("brain", "none"),
        ("mastoid", "bilateral"),
    }


def test_every_word_of_the_lexicon_is_read_as_its_term() -> None:
    """Invariant: a finding in any of its words is read as that term."""
    lexicon, terms = load_lexicon("zh"), load_terms()
    wrong = []
    for term, words in lexicon.words["findings"].items():
        if terms.findings[term].kind == "status" or term in ("signal abnormality", "acute abnormality"):
            continue
        for word in words:
            found = {f.finding for f in read(f"{word}。")}
            if term not in found:
                wrong.append((term, word, found))
    assert wrong == []


def test_sentences_leave_out_list_numbers() -> None:
    """Invariant: a sentence is the report's text at its offsets without the number of a list; decimals are kept."""
    text = "1.左侧额叶囊肿，约1.2cm。2、脑沟增宽\n（3）乳突炎。"
    sentences = split_sentences(text, "zh")
    assert [s.text for s in sentences] == ["左侧额叶囊肿，约1.2cm。", "脑沟增宽", "乳突炎。"]
    assert all(text[s.start : s.end] == s.text for s in sentences)


def test_shared_gold(test_data: Path) -> None:
    """Findings of the 30 shared Chinese texts: F1 above 0.90, the target; measured 0.94 over both halves.

    The floor is 0.04 lower, because it is a target and because one report read otherwise moves the figure by 0.01.
    Pairs are those of the annotation guide without the parent of a site, so that no more is counted than the scorer
    counts.
    """
    right = told = read_count = 0
    for line in (test_data / "reports" / "gold_zh.jsonl").read_text(encoding="utf-8").splitlines():
        gold = json.loads(line)
        findings, _, impression = gold["text"].partition("\n")
        level = {"probable": "hedged", "possible": "hedged"}
        expected = [
            (f["finding"], f["site"], f["laterality"], level.get(f["certainty"], f["certainty"]))
            for f in gold["findings"]
        ]
        found = [
            (f.finding, f.site, f.laterality, level.get(f.certainty, f.certainty)) for f in read(findings, impression)
        ]
        told, read_count = told + len(expected), read_count + len(found)
        right += sum(min(expected.count(key), found.count(key)) for key in set(expected))
    assert 2 * right / (told + read_count) > 0.90
