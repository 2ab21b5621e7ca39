"""The first Chinese writer: full sentences in the order of a hospital's template, for training and pseudo data.

Wording lives here only. It shares no sentence with the second writer (`chinese_held_out.py`; a test compares them);
both take the names of sites from the lexicon, as anatomy has no synonyms to speak of.
"""

import numpy as np

from selip.processing.findings import Finding
from selip.processing.vocabulary import load_lexicon

from ..reports import Report, pick
from .facts import ReportFacts, Told

NOUNS: dict[str, tuple[str, ...]] = {
    "acute infarct": ("急性脑梗死", "急性脑梗死灶"),
    "subacute infarct": ("亚急性脑梗死",),
    "encephalomalacia": ("软化灶", "脑软化灶"),
    "lacune": ("陈旧性腔隙性脑梗死", "腔隙灶"),
    "white matter lesion": ("脑白质病变", "脑白质变性"),
    "hemorrhage": ("血肿", "脑出血"),
    "microbleed": ("微出血灶",),
    "subdural hematoma": ("硬膜下血肿",),
    "cavernous malformation": ("海绵状血管瘤",),
    "meningioma": ("脑膜瘤",),
    "glioma": ("胶质瘤",),
    "metastasis": ("转移瘤",),
    "edema": ("水肿", "水肿带"),
    "arachnoid cyst": ("蛛网膜囊肿",),
    "retention cyst": ("潴留囊肿",),
    "mucosal thickening": ("黏膜增厚",),
    "perivascular space": ("血管周围间隙增宽",),
    "demyelinating plaque": ("脱髓鞘斑",),
    "abscess": ("脑脓肿", "脓肿"),
    "ventricular dilation": ("脑室扩张", "脑室扩大"),
    "atrophy": ("脑萎缩",),
}
SHAPES = {"patchy": "斑片状", "round": "类圆形", "oval": "椭圆形", "irregular": "不规则形", "punctate": "点状"}
SEVERITIES = {"mild": "轻度", "moderate": "中度", "severe": "重度"}
ACUITIES = {"acute": "急性", "subacute": "亚急性"}
SIDES = {"left": "左侧", "right": "右侧", "bilateral": "双侧"}
SIGNAL_WORDS = {"hyper": "高信号", "hypo": "低信号", "iso": "等信号"}
SEQUENCE_WORDS = {"T1w": "T1WI", "T2w": "T2WI", "FLAIR": "FLAIR", "DWI": "DWI", "ADC": "ADC图", "SWI": "SWI"}
CHANGES = {
    "new": ("与前片比较为新发病灶。", "前片相应部位未见。"),
    "unchanged": ("与前片比较无明显变化。", "与前片比较大致相仿。"),
    "larger": ("与前片比较病灶较前增大。", "病灶较前增大。"),
    "smaller": ("与前片比较病灶较前缩小。", "病灶较前缩小。"),
}
RESOLVED = {
    "subdural hematoma": "前片所示硬膜下血肿已吸收。",
    "extra-axial collection": "前片所示脑外积液已消失。",
    "edema": "前片所示水肿已消失。",
}
DENIALS: dict[str, tuple[str, ...]] = {
    "restricted diffusion": ("脑实质未见明显弥散受限。", "DWI未见明显弥散受限。"),
    "acute infarct": ("未见急性脑梗死征象。", "脑实质未见明确急性脑梗死。"),
    "hemorrhage": ("颅内未见出血征象。", "未见明确颅内出血。"),
    "microbleed": ("SWI未见微出血灶。", "SWI未见明确微出血灶。"),
    "mass": ("颅内未见占位征象。", "未见明确颅内占位。"),
    "abnormal enhancement": ("增强扫描未见异常强化。", "增强后脑实质未见异常强化。"),
    "midline shift": ("未见中线移位。", "脑中线结构未见移位。"),
    "hydrocephalus": ("未见脑积水征象。", "未见明确脑积水。"),
    "extra-axial collection": ("颅骨内板下未见积液征象，未见脑外积液。", "未见明确脑外积液。"),
}
REGIONS: dict[str, tuple[str, ...]] = {
    "ventricles": ("脑室系统形态、大小正常。", "各脑室大小正常。"),
    "sulci": ("脑沟、脑裂形态正常。", "脑沟深浅正常。"),
    "cisterns": ("脑池形态正常。", "各脑池显示清晰，形态正常。"),
    "vessels": ("脑血管流空信号正常。", "颅内大血管流空信号存在。"),
    "paranasal sinuses": ("鼻窦黏膜未见增厚。", "鼻窦含气良好。"),
    "mastoids": ("乳突气房含气良好。", "乳突气化良好。"),
    "orbits": ("眼眶内结构正常。", "眼球形态正常。"),
    "skull": ("颅骨信号正常。", "颅板骨质信号正常。"),
    "pituitary": ("垂体形态正常。", "垂体大小、形态正常。"),
    "craniocervical junction": ("小脑扁桃体位置正常。", "颅颈交界区结构正常。"),
}
NORMAL_OPENINGS = ("双侧大脑半球对称，脑实质内未见异常信号影。", "脑实质信号均匀，灰白质分界清楚。")
NORMAL_CONCLUSIONS = ("颅脑MRI未见明显异常。", "颅脑MR平扫未见异常。")
ARTEFACTS = {"motion": "图像有运动伪影。", "flow": "部分序列可见搏动伪影。"}
COMPLAINTS = ("头痛", "头晕", "记忆力下降", "肢体无力", "抽搐", "复查", "意识改变")


def write(facts: ReportFacts) -> Report:
    """Word the report of a study.

    Args:
        facts: what it says.

    Returns:
        Findings in full sentences and a numbered opinion.
    """
    rng = np.random.default_rng(facts.seed)
    sex = {"F": "女", "M": "男"}[facts.sex]
    preamble = f"临床病史：{sex}，{facts.age}岁，{pick(COMPLAINTS, rng)}。\n"
    sentences = [ARTEFACTS[name] for name in facts.artefacts]
    sentences += [] if facts.told else [pick(NORMAL_OPENINGS, rng)]
    if not facts.told and {"T2w", "FLAIR"} <= set(facts.sequences):
        sentences.append("T2WI及FLAIR序列未见异常高信号。")
    sentences += [_describe(told, facts) for told in facts.told]
    if facts.resolved:
        sentences.append(RESOLVED[facts.resolved])
    background = [pick(REGIONS[region], rng) for region in facts.normal]
    background += [pick(DENIALS[term], rng) for term in facts.denied]
    sentences += [background[i] for i in rng.permutation(len(background))]
    conclusions = [_conclude(told) for told in facts.told if told.finding.finding != "edema"]
    headings = ("影像所见：", "诊断意见：")
    return Report("".join(sentences), tuple(conclusions or [pick(NORMAL_CONCLUSIONS, rng)]), preamble, headings)


def _describe(told: Told, facts: ReportFacts) -> str:
    """The sentences on one finding."""
    rng = np.random.default_rng(told.seed)
    finding = told.finding
    if finding.finding in ("ventricular dilation", "atrophy"):
        text = pick(("可见{}。", "脑实质可见{}改变。"), rng).format(_noun(finding, rng))
    else:
        text = _located(told, rng)
    if told.names_signals:
        text += _signals(finding, facts, rng)
    elif finding.finding != "edema" and any(s.signal == "enhancing" for s in finding.signals):
        text += pick(("增强扫描可见强化。", "增强扫描病灶明显强化。"), rng)
    return text + (pick(CHANGES[finding.change], rng) if finding.change != "none" else "")


def _located(told: Told, rng: np.random.Generator) -> str:
    finding = told.finding
    place, noun = _place(finding), _noun(finding, rng)
    shape = SHAPES.get(finding.morphology[0], "") if finding.morphology and rng.random() < 0.6 else ""
    many = "多发" if finding.count == "multiple" else ""
    size = f"，大小约{_size(finding)}" if told.gives_size else ""
    size = size.replace("大小约", "较大者约") if many else size
    if finding.certainty == "probable":
        return f"{place}见{many}{shape}异常信号影{size}，考虑{noun}。"
    if finding.certainty == "possible":
        return f"{place}见可疑{many}{shape}异常信号影{size}，{noun}待排。"
    return pick((f"{place}见{many}{shape}{noun}{size}。", f"{place}可见{many}{shape}{noun}影{size}。"), rng)


def _noun(finding: Finding, rng: np.random.Generator) -> str:
    noun = pick(NOUNS[finding.finding], rng)
    if finding.finding == "hemorrhage":
        noun = ACUITIES[finding.acuity] + noun
    return SEVERITIES.get(finding.severity, "") + noun


def _place(finding: Finding) -> str:
    return SIDES[finding.laterality] + load_lexicon("zh").names["sites"][finding.site]


def _size(finding: Finding) -> str:
    return f"{finding.size_mm or 0.0:.0f}mm"


def _signals(finding: Finding, facts: ReportFacts, rng: np.random.Generator) -> str:
    """A sentence on the signals by sequence; empty where there is none to name."""
    parts = []
    for name in facts.sequences:
        values = [signal.signal for signal in finding.signals if signal.sequence == name]
        if not values or name not in SEQUENCE_WORDS:
            continue
        look = SIGNAL_WORDS[values[0]] + (f"伴周边{SIGNAL_WORDS[values[1]]}" if len(values) > 1 else "")
        parts.append(f"{SEQUENCE_WORDS[name]}呈{look}")
    parts = [parts[i] for i in sorted(rng.permutation(len(parts))[: int(rng.integers(2, 5))])]
    if any(s.signal == "enhancing" for s in finding.signals):
        parts.append("增强扫描可见强化")
    return "，".join(parts) + "。" if parts else ""


def _conclude(told: Told) -> str:
    """The line of the opinion on one finding."""
    rng = np.random.default_rng(told.seed + 1)
    finding = told.finding
    noun = _noun(finding, rng)
    if finding.finding in ("ventricular dilation", "atrophy"):
        return f"{noun}。"
    many = "多发" if finding.count == "multiple" else ""
    ending = {"probable": "可能性大", "possible": "待排，请结合临床"}.get(finding.certainty, "")
    return f"{_place(finding)}{many}{noun}{ending}。"
