"""Sections and sentences are slices of the report: nothing is lost, nothing invented, in either language."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selip.processing.headings import SECTIONS, find_headings, is_title
from selip.processing.reports import read_sections, report_key, report_language, split_sentences
from selip.processing.vocabulary import load_headings

A, B = "No mass is seen.", "Old infarct."
ENGLISH_STYLES = [
    f"FINDINGS:\n{A}\n\nIMPRESSION:\n{B}",
    f"Findings: {A}\r\nImpression: {B}\r\n",
    f"IMPRESSION: {B}\nFINDINGS: {A}",
    f"FINDINGS\n{A}\nCONCLUSION\n{B}",
    f"**FINDINGS:** {A}\n**IMPRESSION:** {B}",
    f"**Findings**\n{A}\n**Impression**: {B}",
    f"## Findings\n{A}\n## Impression\n{B}",
    f"1. Findings:\n{A}\n2. Impression:\n{B}",
    f"[FINDINGS]\n{A}\n[IMPRESSION]\n{B}",
    f"FINDINGS - {A}\nIMPRESSION – {B}",
    f"FINDINGS {A}\nIMPRESSION {B}",
    f"FINDINGS:, {A}\nIMPRESSION:, {B}",
    f"HISTORY: fall.\nTECHNIQUE: MRI.\nFINDINGS: {A}\nIMPRESSION: {B}",
    f"TECHNIQUE: Axial T2, FLAIR. FINDINGS: {A} IMPRESSION: {B}",
    f"Technique: axial T2.  Findings: {A}  Impression: {B}",
    f"MRI BRAIN WITHOUT CONTRAST\n\nFINDINGS:\n{A}\nIMPRESSION:\n{B}",
    f"MRI BRAIN WITH AND WITHOUT CONTRAST 05/14/2023\n{A}\nOpinion: {B}",
    f"Clinical Information: headache\nComparison: None.\nMRI FINDINGS:\n{A}\nRadiological Diagnosis:\n{B}",
    f"Findings:\n{A}\nImpression:\n{B}\nElectronically signed by Jane Doe\nReport status: final",
    f"findings:\n{A}\nimpression:\n{B}\nRecommendation: MRI in 3 months.",
]
甲, 乙 = "左侧额叶见斑片状异常信号。", "脑梗死。"
CHINESE_STYLES = [
    f"影像所见：{甲}\n诊断意见：{乙}",
    f"影像所见:{甲}\n影像诊断:{乙}",
    f"【影像表现】\n{甲}\n【印象】\n{乙}",
    f"【检查所见】{甲}【诊断意见】{乙}",
    f"一、影像表现：{甲}\n二、诊断：{乙}",
    f"检查方法：平扫。影像所见：{甲}影像诊断：{乙}",
    f"影像所见\n{甲}\n诊断意见\n{乙}",
    f"影像所见  {甲}\n诊断意见  {乙}",
    f"颅脑MRI平扫+增强\n影像描述：{甲}\n诊断意见及建议：{乙}",
    f"临床诊断：头痛待查\n检查部位：颅脑\nMRI所见：{甲}\nMRI诊断：{乙}\n建议：随访。",
    f"**影像学表现：**{甲}\n**影像学诊断：**{乙}\n报告医师：张三  审核医师：李四",
    f"{甲}\n印象：{乙}",
]


@pytest.mark.parametrize("text", ENGLISH_STYLES)
def test_english_heading_styles(text: str) -> None:
    """Invariant: however headings stand out, findings and impression are the same words and nothing more."""
    sections = read_sections(text)
    assert (sections["findings"], sections["impression"]) == (A, B), sections


@pytest.mark.parametrize("text", CHINESE_STYLES)
def test_chinese_heading_styles(text: str) -> None:
    """Invariant: the same for Chinese headings; 临床诊断 is no diagnosis, and who signed is no impression."""
    sections = read_sections(text)
    assert (sections["findings"], sections["impression"]) == (甲, 乙), sections


@pytest.mark.parametrize(
    "text",
    [
        "No mass. No findings to explain it.",
        "A. The findings are stable.\nOur impression is good.",
        "The brain is normal: no other findings: none.\nImpressions of the skull are seen.",
        "The technique of choice is known. Opinions differ.",
        "左侧额叶见异常信号，结合临床诊断，考虑脑梗死。余所见无异常。",
        "",
    ],
)
def test_sentences_with_such_words_are_no_headings(text: str) -> None:
    """Invariant: a report without headings is findings as it stands."""
    assert read_sections(text) == ({"findings": text} if text else {})


def test_all_sections_stand_under_their_names() -> None:
    """Invariant: each text stands under its heading; what occurs twice is joined."""
    text = "EXAM: MRI brain.\nTechnique: T1, T2.\n\nFINDINGS:\nNo mass.\n\nImpression:\n1. Normal.\n2. No bleed.\n"
    assert read_sections(text) == {
        "title": "MRI brain.",
        "technique": "T1, T2.",
        "findings": "No mass.",
        "impression": "1. Normal.\n2. No bleed.",
    }
    assert read_sections("IMPRESSION: B.") == {"impression": "B."}
    assert read_sections("FINDINGS: A.\nHISTORY: x\nFINDINGS: C.")["findings"] == "A.\nC."
    named = {
        name for name, _, _ in find_headings("\n".join(f"{name}:" for name in load_headings()["signature"]["zh"]))
    }
    assert named == {"signature"}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_heading_of_the_data_is_found(section: str, language: str) -> None:
    """Invariant: each heading opens its own section, before a colon and on a line of its own."""
    for name in load_headings()[section][language]:
        for form in (name, name.upper()):
            found = list(find_headings(f"{form}:\nText."))
            assert [heading.section for heading in found] == [section], form
            assert [heading.section for heading in find_headings(f"Text.\n{form}\nText.")] == [section], form


def test_titles_say_nothing_of_a_result() -> None:
    """Invariant: names of an examination are titles; a line that says what was seen is none."""
    for title in (
        "MRI BRAIN WITHOUT CONTRAST",
        "MR Head W/WO Contrast:",
        "头颅MRI平扫+DWI",
        "某某医院磁共振检查报告单",
    ):
        assert is_title(title), title
    for line in ("MRI brain normal", "MRI of the brain shows a mass", "颅脑MRI平扫未见异常", "", "With contrast"):
        assert not is_title(line), line


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
def test_english_sentence_ends(text: str, expected: list[str]) -> None:
    """Invariant: decimals, abbreviations, list numbers and soft line breaks do not end a sentence."""
    assert [s.text for s in split_sentences(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "左侧额叶见约1.2cm×0.8cm异常信号。脑室不大；中线居中。",
            ["左侧额叶见约1.2cm×0.8cm异常信号。", "脑室不大；中线居中。"],
        ),
        ("1、左侧基底节区梗死；\n2、脑萎缩", ["左侧基底节区梗死；", "脑萎缩"]),
        ("1.左侧基底节区梗死2.脑萎缩3.鼻窦炎", ["左侧基底节区梗死", "脑萎缩", "鼻窦炎"]),
        ("（1）脑梗死（2）脑萎缩", ["脑梗死", "脑萎缩"]),
        ("①脑梗死②脑萎缩", ["脑梗死", "脑萎缩"]),
        ("一、脑梗死。\n二、脑萎缩。", ["脑梗死。", "脑萎缩。"]),
        ("- 脑梗死\n- 脑萎缩", ["脑梗死", "脑萎缩"]),
        ("呈长T1、长T2信号，T2、FLAIR高信号。", ["呈长T1、长T2信号，T2、FLAIR高信号。"]),
        ("可见约2、3个点状灶，颈4、颈5椎体，第3、第四脑室。", ["可见约2、3个点状灶，颈4、颈5椎体，第3、第四脑室。"]),
        ("双侧额叶、\n顶叶见异常信号，\n边界不清", ["双侧额叶、\n顶叶见异常信号，\n边界不清"]),
        ("左侧额叶异常信号. 右侧未见异常.", ["左侧额叶异常信号.", "右侧未见异常."]),
        ("考虑脑梗死（急性期）？建议复查！", ["考虑脑梗死（急性期）？", "建议复查！"]),
        ("", []),
    ],
)
def test_chinese_sentence_ends(text: str, expected: list[str]) -> None:
    """Invariant: 。！？ and the next item of a list end a sentence; sizes, sequences and counts do not."""
    assert [s.text for s in split_sentences(text, "zh")] == expected


PIECES = [
    *("No mass", ". ", "\n", "1. ", "2.5 cm", " ", "\n\n", "Acute infarct", "? ", "- ", "approx. ", ",", "左", "额叶"),
    *(
        "。",
        "；",
        "，",
        "1、",
        "2、",
        "（1）",
        "①",
        "②",
        "一、",
        "T2、",
        "1.2cm×0.8cm",
        "约2、3个",
        "：",
        "！",
        "\u3000",
    ),
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join), st.sampled_from(["en", "zh"]))
def test_offsets_point_at_the_text_and_no_letter_is_lost(text: str, language: str) -> None:
    """Invariant: every sentence is the slice it says, in order, and between sentences there are only list marks."""
    sentences = split_sentences(text, language)
    assert all(text[s.start : s.end] == s.text for s in sentences)
    assert all(s.text and s.text == s.text.strip() for s in sentences)
    assert all(a.end <= b.start for a, b in itertools.pairwise(sentences))
    edges = [0, *(edge for s in sentences for edge in (s.start, s.end)), len(text)]
    between = "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    assert not [c for c in between if c.isalpha() and c not in "一二三四五六七八九十"]


@given(
    st.lists(st.sampled_from([*PIECES, "FINDINGS:", "印象：", "\nImpression\n"]) | st.text(max_size=3)).map("".join)
)
def test_sections_are_words_of_the_report(text: str) -> None:
    """Invariant: every section is made of lines of the report, and only headings and blanks are outside of them."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    sections = read_sections(text)
    for name, section in sections.items():
        assert name in SECTIONS
        assert all(line in plain for line in section.split("\n"))
    headings = sum(heading.end - heading.start for heading in find_headings(plain))
    letters = sum(not c.isspace() for c in plain)
    kept = sum(not c.isspace() for section in sections.values() for c in section)
    assert kept <= letters <= kept + headings


def test_language() -> None:
    """Latin abbreviations do not make a Chinese report English, nor a name an English one Chinese."""
    assert report_language("左侧额叶见 T2WI FLAIR 高信号, DWI 呈高信号, 考虑急性脑梗死") == "zh"
    assert report_language("Acute infarct in the left frontal lobe (额叶).") == "en"
    assert report_language("") == "en"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1. No mass.\n2. Old infarct.", "- NO MASS\n\n- old   infarct"),
        ("No mass. MRN: 00482915. Dr. Doe told 05/14/2023", "No mass. MRN: 77712345. Dr. Roe told May 3, 2022"),
        ("T2/FLAIR bright, 1.2 x 0.8 cm", "T2 / FLAIR bright 1.2 x 0.8 cm."),
        ("1、左侧额叶梗死；2、脑萎缩。", "①左侧额叶梗死。\n②脑萎缩"),
        ("检查号：MR2023001，左侧额叶梗死", "检查号: MR2024999, 左侧额叶梗死"),
    ],
)
def test_repeated_reports_have_one_key(text: str, same: str) -> None:
    """Invariant: blanks, case, punctuation, list marks, names, dates and record numbers make no difference."""
    assert report_key(text) == report_key(same)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("A 1.2 cm mass.", "A 12 cm mass."),
        ("Left mass.", "Right mass."),
        ("No mass.", "Mass."),
        ("Mass 3 mm. Cyst.", "Mass 4 mm. Cyst."),
        ("左侧额叶梗死", "右侧额叶梗死"),
    ],
)
def test_reports_that_say_other_things_have_other_keys(text: str, other: str) -> None:
    """Invariant: sizes, sides and denials make a difference."""
    assert report_key(text) != report_key(other)
