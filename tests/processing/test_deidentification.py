"""De-identification with canaries: made-up names, dates and numbers are gone, what radiology needs is still there."""

import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selip.processing.deidentification import KINDS, deidentify

# text, the words that must not come through, the kinds that are counted
CANARIES = [
    (
        "Patient Name: DOE, JANE Q.   MRN: 00482915",
        "DOE | JANE | 00482915",
        "NAME ID",
    ),
    (
        "Name: Jane van der Berg\nDOB: 03/07/1961",
        "Jane | Berg | 03/07/1961",
        "NAME DATE",
    ),
    (
        "Referring Physician: Robert O'Neill",
        "Robert | Neill",
        "NAME",
    ),
    (
        "Discussed with Dr. Anna Smith-Jones at 3:45 pm on 05/14/2023.",
        "Anna | Smith | 3:45 | 05/14",
        "NAME DATE DATE",
    ),
    (
        "Findings were called to Maria Lopez RN at 14:35 hours.",
        "Maria | Lopez | 14:35",
        "NAME DATE",
    ),
    (
        "Electronically signed by: John Smith, MD on 2023-05-14T10:35",
        "John | Smith | 2023 | 10:35",
        "NAME DATE",
    ),
    (
        "Dictated and approved by A. Kumar, M.D.",
        "Kumar",
        "NAME",
    ),
    (
        "Mr. Brown was informed. Mrs Green was not.",
        "Brown | Green",
        "NAME NAME",
    ),
    (
        "Comparison: MRI brain dated 14 May 2023 and May 3rd, 2022.",
        "14 May | May 3 | 2023 | 2022",
        "DATE DATE",
    ),
    (
        "Compared with 14-May-23, 2022/11/02, 14.05.2023, 5/14/23 and 20230514.",
        "14 | 2022 | 05 | 23",
        "DATE DATE DATE DATE DATE",
    ),
    (
        "Compared with the study of 5/14, and with November 2008.",
        "5/14 | November",
        "DATE DATE",
    ),
    (
        "Accession #: MR-2023-004512, exam number 7781234, SSN 123-45-6789",
        "004512 | 7781234 | 6789",
        "ID ID ID",
    ),
    (
        "Study RAD0012345678, UID 1.2.840.113619.2.55.3.1",
        "0012345678 | 113619",
        "ID ID",
    ),
    (
        "Call back 555-0142, (212) 555-0173, 212-555-0199, +44 20 7946 0958, pager 40217",
        "0142 | 0173 | 0199 | 0958 | 40217",
        "PHONE PHONE PHONE PHONE PHONE",
    ),
    (
        "Questions to jane.doe@hospital.example.org",
        "jane | example",
        "EMAIL",
    ),
    (
        "姓名：张三 性别：男 年龄：45岁 住院号：0482915 检查号MR20230514001",
        "张三 | 0482915 | 20230514001",
        "NAME ID ID",
    ),
    (
        "患者姓名:欧阳小明,联系电话:13800001234",
        "欧阳 | 小明 | 13800001234",
        "NAME PHONE",
    ),
    (
        "门诊号 A123456，病案号：778812，身份证号110101196103071234",
        "A123456 | 778812 | 19610307",
        "ID ID ID",
    ),
    (
        "检查日期：2023年5月14日10时35分，对比2022-11-02旧片",
        "2023 | 10时 | 2022",
        "DATE DATE",
    ),
    (
        "与5月14日MRI比较，另见二〇二二年十一月二日片、2021年3月片、2023.05.14 10:35片",
        "5月14 | 二〇二二 | 2021 | 10:35",
        "DATE DATE DATE DATE",
    ),
    (
        "报告医师：王小五  审核医师：李四\n报告日期：2023/05/14",
        "王小五 | 李四 | 2023",
        "NAME NAME DATE",
    ),
    (
        "患者李小明，男，45岁。已电话通知张主任，请示陈晓东医生。",
        "李小明 | 张主任 | 陈晓东",
        "NAME NAME NAME",
    ),
    (
        "医师签名：阿卜杜拉·买买提 电话：010-65001234",
        "买买提 | 65001234",
        "NAME PHONE",
    ),
]

RADIOLOGY = (
    "Average precision ap@0.1, recall@5.",
    "A 1.2 x 0.8 cm mass in the left frontal lobe.",
    "Strength 3/5; Fazekas 2/3; image 3/24 of series 5/12.",
    "T1, T2 and FLAIR, DWI b0/500/1000, ADC 0.6-0.8, TR/TE 5000/120.",
    "Lesions of 5-10-15 mm at C5-6 and L4/5, 12 mm on 3.0 T.",
    "Chiari I, Virchow-Robin spaces, Meckel cave, Dandy-Walker, Alzheimer disease.",
    "Unchanged for 3 months since 2019 in this 57-year-old.",
    "May represent a 5 mm infarct in the March of events. Marked edema, 8 lesions in all.",
    "Findings were discussed with Neurosurgery. Reviewed by the team. Patient: 45-year-old man.",
    "Consistent with MS. There is no mass on MR. The brain is normal.",
    "WHO grade 4, IDH-mutant, 1p/19q; 2021 classification; ratio 1:2; 95.5%.",
    "左侧额叶见大小约1.2cm×0.8cm异常信号，长T1长T2信号，b=1000。",
    "术后3月，3个月前，5个月后复查；患者：男，45岁。",
    "高年资医师、副主任医师、住院医师；右侧上颌窦；2.5-3.0cm；约10mm左右。",
    "1、左侧基底节区腔隙性脑梗死；2、脑白质高信号（Fazekas 2级）。",
)


@pytest.mark.parametrize(
    ("text", "secrets", "expected"), CANARIES, ids=lambda value: value[:20] if isinstance(value, str) else ""
)
def test_canaries_are_gone_and_counted(text: str, secrets: str, expected: str) -> None:
    """Invariant: no word of a canary comes through, each placeholder is counted once, and a second pass finds none."""
    clean, counts = deidentify(text)
    assert not [word for word in secrets.split(" | ") if word in clean], clean
    assert sorted(counts.elements()) == sorted(expected.split())
    for kind in KINDS:
        assert clean.count(f"[{kind}]") == counts[kind]
    assert deidentify(clean) == (clean, {})


@pytest.mark.parametrize("text", RADIOLOGY)
def test_radiology_survives(text: str) -> None:
    """Invariant: sizes, fractions, sequences, levels, eponyms, durations and ages are not touched by a letter."""
    assert deidentify(text) == (text, {})


DATE_FORMS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%Y", "%d.%m.%Y", "%m-%d-%Y", "%m/%d/%y"),
    *("%d %B %Y", "%d-%b-%Y", "%B %d, %Y", "%b %d %Y", "%d%b%Y", "%B %Y"),
    *("%Y年%m月%d日", "%Y年%m月", "%m月%d日", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y at %I:%M %p"),
)


@given(
    st.datetimes(datetime.datetime(1930, 1, 1), datetime.datetime(2049, 12, 31)),
    st.sampled_from(DATE_FORMS),
    st.sampled_from(RADIOLOGY),
    st.sampled_from(RADIOLOGY),
)
def test_dates_of_every_form_go_and_leave_the_sentences_beside_them(
    date: datetime.datetime, form: str, before: str, after: str
) -> None:
    """Invariant: any date in any form is one placeholder, between sentences that stay as they are."""
    clean, counts = deidentify(f"{before} Compared with {date.strftime(form)}. {after}")
    assert clean == f"{before} Compared with [DATE]. {after}"
    assert counts == {"DATE": 1}


@given(st.lists(st.sampled_from([*(text for text, _, _ in CANARIES), *RADIOLOGY, "\n", " ", "。", "12", "A", "Dr. "])))
def test_a_second_pass_changes_nothing(pieces: list[str]) -> None:
    """Invariant: on any mixture, what is clean stays as it is, and placeholders and counts agree."""
    clean, counts = deidentify("".join(pieces))
    assert deidentify(clean) == (clean, {})
    assert sum(counts.values()) == len(re.findall(r"\[(?:NAME|DATE|ID|PHONE|EMAIL)\]", clean))
