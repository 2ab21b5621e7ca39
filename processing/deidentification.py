"""De-identification: what looks like a name, date, number of a record or telephone number becomes a placeholder.

Patterns find what stands in a form that gives it away: after a label ("MRN:", 住院号), after a title ("Dr."), before a
profession (医师), or in the shape of a date, a telephone number or a long number. A bare name in running text has no
such form and stays. This lowers the risk of a report and does not make it anonymous: docs/report_reading.md lists what
is recognised, what is not, and how often.

What radiology needs stays: sizes (1.2 x 0.8 cm), fractions (3/5), sequences (T2, b1000), levels (C5-6), durations
(3 months, 术后3月), ages and bare years.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

# Order of `docs/report_reading.md`. Every placeholder of a kind is the same, so that none tells how long the words
# were.
KINDS = ("NAME", "DATE", "ID", "PHONE", "EMAIL")


def deidentify(text: str) -> tuple[str, Counter[str]]:
    """Put placeholders in the place of names, dates, record numbers, telephone numbers and e-mail addresses.

    Args:
        text: report or part of one, English or Chinese or both.

    Returns:
        The text with `[NAME]`, `[DATE]`, `[ID]`, `[PHONE]`, `[EMAIL]`, and how many of each kind were put in. Doing it
        again changes nothing and counts nothing.
    """
    counts: Counter[str] = Counter()
    before = None
    while before != text:  # what stood beside a number may be recognised once that is gone
        before = text
        for rule in _RULES:
            if rule.needs.search(text):
                text = rule.pattern.sub(_replacement(rule.kind, counts), text)
    return text, counts


def _replacement(kind: str, counts: Counter[str]) -> Callable[[re.Match[str]], str]:
    """Replaces the group `it` of a match, or all of it, and counts."""

    def replaced(match: re.Match[str]) -> str:
        counts[kind] += 1
        start, end = match.span("it") if "it" in match.re.groupindex else match.span()
        whole, shift = match.group(), match.start()
        return f"{whole[: start - shift]}[{kind}]{whole[end - shift :]}"

    return replaced


class _Rule(NamedTuple):
    """`needs`: a part of whatever `pattern` matches that is quick to look for; most reports lack most of them."""

    kind: str
    pattern: re.Pattern[str]
    needs: re.Pattern[str]


def _rule(kind: str, pattern: str, needs: str = "", *, ignore_case: bool = False) -> _Rule:
    flags = (re.IGNORECASE if ignore_case else re.NOFLAG) | re.MULTILINE
    return _Rule(kind, re.compile(pattern, flags), re.compile(needs))


_COLON = r"[ \t]*[:：][ \t]*"
_NOT_IN_WORD, _NOT_IN_NUMBER = r"(?<![A-Za-z])", r"(?<![\d.])"

# --- names ---
_CAPITALISED = r"(?:[A-Z][a-z'’]+(?:[A-Z][a-z]+)?(?:-[A-Z][a-z]+)?|[A-Z]{2,}|[A-Z]\.?)"
# "Jane Q. Doe", "DOE, JANE", "van der Berg"; at most five words, all on one line.
_ENGLISH_NAME = (
    rf"(?:(?:van|von|de|der|den|la|di|del|bin|al)[ ])*{_CAPITALISED}"
    rf"(?:,?[ ](?:(?:van|von|de|der|den|la|di|del|bin|al)[ ])*(?!(?:MD|DO|PhD|RN|NP|PA)\b){_CAPITALISED}){{0,4}}"
)
_CREDENTIALS = r"(?:M\.?D\.?|D\.?O\.?|Ph\.?D\.?|R\.?N\.?|N\.?P\.?|P\.?A\.?(?:-C)?|MBBS|FRCR)"
_PERSON_LABELS = (
    r"(?:patient(?:'s)? name|name|patient|referring (?:physician|doctor|provider|clinician)|"
    r"(?:ordering|requesting|attending|primary care) (?:physician|doctor|provider|clinician)|"
    r"attending|radiologist|resident|fellow|technologist|interpreter|physician|provider|requested by|ordered by)"
)
_SIGNATURES = (
    r"(?:(?:electronically |digitally )?(?:signed|dictated|read|reviewed|interpreted|transcribed|approved|verified|"
    r"finalized|attested|reported|authenticated)(?: and (?:signed|approved|verified|finalized))?"
    r"(?: electronically)? by)"
)
# To whom a result was told; departments are no persons.
_TOLD = (
    r"(?:discussed with|communicated (?:to|with)|conveyed to|relayed to|called to|reported to|notified|paged|informed)"
)
_DEPARTMENTS = (
    r"(?:The|Neuro\w*|Emergency|ER|ED|ICU|NICU|PICU|Surgery|Oncology|Medicine|Radiology|Pediatrics|Ophthalmology|ENT|"
    r"Otolaryngology|Trauma|Stroke|Internal|Cardiology|Dr|Drs|Mr|Mrs|Ms|Prof)\b"
)
# The commonest surnames of China (some 85 % of its people) that are not at once everyday words of reports.
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余杜叶程魏苏吕丁沈姚卢姜崔钟谭陆范汪"
    "廖石贾韦夏付方邹熊孟秦邱江尹薛阎段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔汤欧阳司徒诸葛"
)
_HAN = r"[\u4e00-\u9fff]"
_CHINESE_NAME = rf"(?:{_HAN}{{1,8}}·{_HAN}{{1,8}}|{_HAN}{{2,4}}?)"
_NAME_END = r"(?=[\s，。；、,;:：/|()（）\[\]【】0-9]|$|性别|男|女|年龄|报告|审核|诊断|检查|科室|日期|住院|电话)"
_CHINESE_LABELS = (
    r"(?:(?:患者|病人|病员)?姓名|(?:报告|审核|诊断|检查|主治|申请|送检|书写|签发|复核|阅片|操作|经治|主管)(?:医师|医生|者|人|技师)|"
    r"(?:医师|医生|技师)签名|签名|签字|记录者|联系人|家属|技师|登记员|医师|医生)"
)
_PROFESSIONS = r"(?:医生|医师|主任|教授|大夫|护士|技师|先生|女士|小姐)"

# --- dates ---
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_M, _D, _YEAR = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d{2}"
_CLOCK = r"(?:[01]?\d|2[0-3])[:：][0-5]\d(?:[:：][0-5]\d)?(?:[ ]?(?:[ap]m|[ap]\.m\.)(?![a-z]))?"
_TIME_AFTER = rf"(?:(?:[ ]?T|,?[ ]+(?:at[ ]+)?)?{_CLOCK})?"
_NUMERIC_DATE = (
    rf"(?:{_YEAR}(?P<sep>[-/.]){_M}(?P=sep){_D}"  # 2023-05-14
    rf"|(?:{_M}(?P<us>[-/.]){_D}|{_D}(?P<eu>[-/.]){_M})(?:(?(us)(?P=us)|(?P=eu))){_YEAR}"  # 05/14/2023, 14.05.2023
    rf"|(?:{_M}/{_D}|{_D}/{_M})/\d{{2}}"  # 5/14/23
    r"|(?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.\d{2}"  # 14.05.23
    rf"|{_M}/{_YEAR})"  # 05/2023
)
_HAN_DIGIT, _DAY_IN_HAN = "[〇零一二三四五六七八九]", "[一二三四五六七八九十]{1,3}"
_CHINESE_DATE = (
    rf"(?:(?:{_YEAR}|\d{{2}})[ ]?年[ ]?{_M}[ ]?月[ ]?{_D}[ ]?[日号]|{_YEAR}[ ]?年[ ]?{_M}[ ]?月(?!余)"
    rf"|{_HAN_DIGIT}{{4}}年{_DAY_IN_HAN}月(?:{_DAY_IN_HAN}[日号])?"
    rf"|(?<!\d){_M}[ ]?月[ ]?{_D}[ ]?[日号])"
)
_CHINESE_TIME = r"(?:[ ]?(?:上午|下午|凌晨|晚)?[ ]?(?:[01]?\d|2[0-3])[时点](?:[0-5]?\d分)?)?"

# --- numbers ---
_ID_LABELS = (
    r"(?:MRN|medical record(?: number| no\.?| #)?|accession(?: number| no\.?| #)?|acc(?:ession)?[ ]?#|"
    r"patient[ ]?(?:id|number|no\.?)|(?:exam|study|order|case|visit|encounter|account|chart|record|report|requisition|"
    r"insurance|policy)[ ]?(?:id|number|no\.|#)|SSN|social security(?: number)?|NHS(?: number)?|"
    r"hospital (?:number|no\.?)|ID(?=[ ]?[:：#]))"
)
_CHINESE_ID_LABELS = (
    r"(?:住院|门诊|检查|病历|病案|影像|放射|登记|申请单?|条形?码|就诊|卡|身份证|医保|档案|片|编|床|流水|登记流水|病理|X线|CT|MRI?|ID|"
    r"超声|病人|患者|诊疗|健康卡|社保|序)(?:号码|编号|号|ID)"
)
_ID_VALUE = r"(?=[A-Za-z0-9._/-]*\d)[A-Za-z0-9](?:[A-Za-z0-9_/-]|\.(?=[A-Za-z0-9]))*"
_PHONE_LABELS = r"(?:phone|telephone|tel|cell|mobile|fax|pager|call back|callback|ext(?:ension)?)"
_CHINESE_PHONE_LABELS = r"(?:联系电话|电话号码|电话|手机号码?|手机|联系方式|座机|传真|分机)"

_RULES = (
    # the last part of a domain begins with a letter; ap@0.1 and recall@5.2 are metrics
    _rule("EMAIL", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z][A-Za-z0-9-]*", "@"),
    _rule("ID", rf"{_NOT_IN_NUMBER}\d+(?:\.\d+){{4,}}(?![\d.]*\d)", r"\d\.\d+\.\d"),  # unique identifiers of DICOM
    # times and dates before numbers: 20230514 is both
    _rule(
        "DATE",
        rf"(?<![\d.])(?<!\d[/-])(?:{_NUMERIC_DATE})(?![\d]|[-/.]\d|[ ]?(?:mm|cm|x|×|\*)\b){_TIME_AFTER}",
        r"\d[-/.]\d",
        ignore_case=True,
    ),
    _rule(
        "DATE",
        rf"(?<![A-Za-z\d.])(?:{_D}(?:st|nd|rd|th)?[ -]?(?:of )?{_MONTH},?[ -]?{_YEAR}|{_D}-{_MONTH}-\d{{2}}"
        rf"|{_MONTH}[ ]?{_D}(?:st|nd|rd|th)?,?[ ]{_YEAR}|(?-i:(?=[A-Z])){_MONTH}[ ]{_D}(?:st|nd|rd|th)?"
        rf"|{_MONTH},?[ ](?:of )?{_YEAR})"
        rf"(?![\d]|[.,]\d|[ ]?(?:mm|cm)\b){_TIME_AFTER}",
        r"\d",
        ignore_case=True,
    ),
    _rule("DATE", rf"{_CHINESE_DATE}{_TIME_AFTER}{_CHINESE_TIME}", "月", ignore_case=True),
    _rule("DATE", rf"(?<!\d){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)", r"\d{8}"),
    _rule(
        "DATE",
        rf"\b(?:dated|(?:MRI?|CT|study|exam|examination|scan|comparison)(?: (?:of|from|dated|performed on|on))?)"
        rf"[ :]+(?P<it>{_M}/{_D})(?![\d/]|[ ]?(?:mm|cm)\b)",
        r"\d/\d",
        ignore_case=True,
    ),
    _rule(
        "DATE",
        r"\bat (?P<it>(?:[01]?\d|2[0-3]):[0-5]\d(?:[ ]?(?:[ap]m|[ap]\.m\.)(?![a-z])|[ ]?(?:hrs?|hours)\b)?)",
        r"\d:\d",
        ignore_case=True,
    ),
    _rule(
        "DATE",
        r"(?<![\d:])(?:0?[1-9]|1[0-2]):[0-5]\d(?::[0-5]\d)?[ ]?(?:[ap]m|[ap]\.m\.)(?![a-z])",
        r"\d:\d",
        ignore_case=True,
    ),
    _rule("PHONE", rf"\b{_PHONE_LABELS}\b[.:#]?[ ]*(?P<it>\+?\(?\d[\d ()./-]{{2,}}\d)", r"\d", ignore_case=True),
    _rule("PHONE", rf"{_CHINESE_PHONE_LABELS}[ \t]*[:：]?[ \t]*(?P<it>\+?\d[\d -]{{2,}}\d)", _HAN),
    _rule(
        "PHONE",
        r"(?<![\d.-])(?:1[.-])?(?:\(\d{3}\)[ ]?\d{3}[ .-]|\d{3}-\d{3}-|\d{3}\.\d{3}\.)\d{4}(?![\d.-]*\d)",
        r"\d{4}",
    ),
    _rule("PHONE", r"(?<![\w+])\+\d[\d ()-]{7,}\d", r"\+\d"),
    _rule(
        "PHONE", r"(?<!\d)(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)|(?<!\d)0\d{2,3}-\d{7,8}(?!\d)", r"\d{4}"
    ),
    _rule("ID", r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", r"\d-\d{2}-\d"),  # social security number
    _rule("ID", r"(?<!\d)\d{17}[\dXx](?![\dA-Za-z])", r"\d{17}"),  # identity card of China
    _rule("ID", rf"\b{_ID_LABELS}(?:{_COLON}|[ ]*#?[ ]*|[ ]is[ ])(?P<it>{_ID_VALUE})", r"\d", ignore_case=True),
    _rule("ID", rf"{_CHINESE_ID_LABELS}[ \t]*[:：]?[ \t]*(?P<it>{_ID_VALUE})", _HAN, ignore_case=True),
    _rule(
        "ID",
        r"(?<![A-Za-z\d.])[A-Z]{0,5}[-_]?\d{7,}(?![\d]|\.\d)|(?<![A-Za-z\d])[A-Z]{2,5}-?\d{4}-\d{3,}(?!\d)",
        r"\d{4}",
    ),
    _rule("NAME", rf"(?:^|(?<=[.;|\t])|[ ]{{2}})[ \t]*(?i:{_PERSON_LABELS}){_COLON}(?P<it>{_ENGLISH_NAME})(?![a-z])"),
    _rule("NAME", rf"{_NOT_IN_WORD}(?i:{_SIGNATURES})[ ]*[:：]?[ ]*(?!(?:Dr|Prof)\b)(?P<it>{_ENGLISH_NAME})(?![a-z])"),
    _rule(
        "NAME",
        rf"{_NOT_IN_WORD}(?:Drs?|Mr|Mrs|Ms|Miss|Prof|Professor|Doctor|DR|MRS|PROF)\b\.?[ ]+"
        rf"(?P<it>{_ENGLISH_NAME})(?![a-z])",
    ),
    _rule(
        "NAME",
        rf"{_NOT_IN_WORD}(?P<it>[A-Z][a-z]+(?:[ ][A-Z]\.?)?[ ][A-Z][a-z]+(?:-[A-Z][a-z]+)?),?[ ]{_CREDENTIALS}"
        r"(?![A-Za-z])",
    ),
    _rule("NAME", rf"{_NOT_IN_WORD}(?i:{_TOLD})[ ](?!{_DEPARTMENTS})(?P<it>{_ENGLISH_NAME})(?![a-z])"),
    _rule("NAME", rf"{_NOT_IN_WORD}(?i:patient)[ ](?P<it>[A-Z][a-z]+[ ][A-Z][a-z]+)(?![a-z])"),
    _rule("NAME", rf"{_CHINESE_LABELS}[ \t]*[:：][ \t]*(?P<it>{_CHINESE_NAME}){_NAME_END}", _HAN),
    _rule(
        "NAME",
        rf"(?:患者|病人)[ ]?[:：]?[ ]?(?P<it>[{_SURNAMES}]{_HAN}{{1,2}})(?=[\s，,、]*(?:男|女|性别|先生|女士))",
        _HAN,
    ),
    _rule("NAME", rf"(?P<it>[{_SURNAMES}]{_HAN}{{0,2}}?){_PROFESSIONS}", _HAN),
)
