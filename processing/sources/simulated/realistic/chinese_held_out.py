"""The second Chinese writer: entries by site with the side in brackets, for validation and test.

Wording lives here only and shares no sentence with the first writer (`chinese_train.py`; a test compares them).
"""

import numpy as np

from selip.processing.findings import Finding
from selip.processing.vocabulary import load_lexicon

from ..reports import Report, pick
from .facts import ReportFacts, Told

NOUNS: dict[str, tuple[str, ...]] = {
    "acute infarct": ("新鲜梗死", "急性梗死"),
    "subacute infarct": ("亚急性脑梗死",),
    "encephalomalacia": ("脑软化",),
    "lacune": ("陈旧腔梗", "腔梗"),
    "white matter lesion": ("脑白质疏松",),
    "hemorrhage": ("出血",),
    "microbleed": ("微出血",),
    "subdural hematoma": ("硬膜下血肿",),
    "cavernous malformation": ("海绵状血管瘤",),
    "meningioma": ("脑膜瘤",),
    "glioma": ("胶质瘤",),
    "metastasis": ("转移瘤",),
    "edema": ("水肿",),
    "arachnoid cyst": ("蛛网膜囊肿",),
    "retention cyst": ("潴留囊肿",),
    "mucosal thickening": ("黏膜增厚",),
    "perivascular space": ("扩大的血管周围间隙",),
    "demyelinating plaque": ("脱髓鞘", "脱髓鞘斑"),
    "abscess": ("脓肿",),
    "ventricular dilation": ("脑室扩大",),
    "atrophy": ("萎缩",),
}
SEVERITIES = {"mild": "轻微", "moderate": "中度", "severe": "显著"}
ACUITIES = {"acute": "急性期", "subacute": "亚急性期"}
SIDES = {"left": "左", "right": "右", "bilateral": "两侧"}
SIGNAL_WORDS = {"hyper": "高", "hypo": "低", "iso": "等"}
SEQUENCE_WORDS = {"T1w": "T1", "T2w": "T2", "FLAIR": "FLAIR", "DWI": "DWI", "ADC": "ADC", "SWI": "SWI"}
CHANGES = {
    "new": ("对照旧片属新出现。", "对照旧片系新增。"),
    "unchanged": ("对照旧片同前。", "对照旧片稳定。"),
    "larger": ("对照旧片较前进展。", "对照旧片有较前扩大。"),
    "smaller": ("对照旧片较前吸收。", "对照旧片有较前减轻。"),
}
RESOLVED = {
    "subdural hematoma": "对照旧片，硬膜下血肿今无。",
    "extra-axial collection": "对照旧片，脑外积液今无。",
    "edema": "对照旧片，水肿今无。",
}
DENIALS: dict[str, tuple[str, ...]] = {
    "restricted diffusion": ("无扩散受限。", "扩散受限：无。"),
    "acute infarct": ("无新鲜梗死。", "急性梗死：无。"),
    "hemorrhage": ("无出血。", "出血：无。"),
    "microbleed": ("无微出血。", "微出血：无。"),
    "mass": ("无肿瘤，无占位效应。", "肿块：无。"),
    "abnormal enhancement": ("注药后无异常强化。", "异常强化：无。"),
    "midline shift": ("中线居中，无中线偏移。", "中线偏移：无。"),
    "hydrocephalus": ("无脑积水。", "脑积水：无。"),
    "extra-axial collection": ("无脑外积液。", "脑外积液：无。"),
}
REGIONS: dict[str, tuple[str, ...]] = {
    "ventricles": ("脑室：如常。", "脑室不大。"),
    "sulci": ("脑沟：如常。", "脑沟不宽。"),
    "cisterns": ("脑池：如常。", "脑池不宽。"),
    "vessels": ("血管：流空如常。", "主干血管流空可辨。"),
    "paranasal sinuses": ("副鼻窦：如常。", "副鼻窦透气佳。"),
    "mastoids": ("乳突：如常。", "乳突透气佳。"),
    "orbits": ("眼眶：如常。",),
    "skull": ("头颅诸骨：如常。",),
    "pituitary": ("垂体：如常。", "垂体不大。"),
    "craniocervical junction": ("枕骨大孔区：如常。",),
}
NORMAL_OPENINGS = ("脑：如常。", "脑组织：信号如常。")
NORMAL_CONCLUSIONS = ("头颅磁共振如常。", "本次检查无异常。")
ARTEFACTS = {"motion": "患者移动，伪影干扰阅片。", "flow": "流动伪影干扰。"}
QUESTIONS = ("头疼待查", "眩晕待查", "健忘待查", "偏瘫待查", "癫痫？", "随访", "昏迷待查")


def write(facts: ReportFacts) -> Report:
    """Word the report of a study.

    Args:
        facts: what it says.

    Returns:
        One line an entry, and the impression.
    """
    rng = np.random.default_rng(facts.seed)
    preamble = f"病史：{pick(QUESTIONS, rng)}（{'女' if facts.sex == 'F' else '男'}/{facts.age}）\n"
    lines = [ARTEFACTS[name] for name in facts.artefacts]
    lines += [] if facts.told else [pick(NORMAL_OPENINGS, rng)]
    if not facts.told and {"T2w", "FLAIR"} <= set(facts.sequences):
        lines.append("T2、FLAIR：如常。")
    lines += [_describe(told, facts) for told in facts.told]
    if facts.resolved:
        lines.append(RESOLVED[facts.resolved])
    lines += [pick(REGIONS[region], rng) for region in facts.normal]
    lines += [pick(DENIALS[term], rng) for term in facts.denied]
    conclusions = [_conclude(told) for told in facts.told if told.finding.finding != "edema"]
    headings = ("检查所见：", "印象：")
    return Report("\n".join(lines), tuple(conclusions or [pick(NORMAL_CONCLUSIONS, rng)]), preamble, headings)


def _describe(told: Told, facts: ReportFacts) -> str:
    """The entry on one finding: site, side in brackets, what it is; signals and change in short sentences."""
    rng = np.random.default_rng(told.seed)
    finding = told.finding
    line = f"{_place(finding)}：{_hedged(finding, _noun(finding, rng), rng)}"
    if told.gives_size:
        line += pick((f"，直径{_size(finding)}", f"，最长径{_size(finding)}", f"（{_size(finding)}）"), rng)
    line += "。"
    if told.names_signals:
        line += _signals(finding, facts, rng)
    elif finding.finding != "edema" and any(s.signal == "enhancing" for s in finding.signals):
        line += pick(("注药后有强化。", "注药后显著强化。"), rng)
    return line + (pick(CHANGES[finding.change], rng) if finding.change != "none" else "")


def _hedged(finding: Finding, noun: str, rng: np.random.Generator) -> str:
    if finding.certainty == "probable":
        return pick((f"疑{noun}", f"倾向{noun}"), rng)
    if finding.certainty == "possible":
        return pick((f"{noun}不除外", f"不能排除{noun}"), rng)
    return noun


def _noun(finding: Finding, rng: np.random.Generator) -> str:
    noun = pick(NOUNS[finding.finding], rng)
    if finding.finding == "hemorrhage":
        noun = ACUITIES[finding.acuity] + noun
    many = "数个" if finding.count == "multiple" else ""
    return many + SEVERITIES.get(finding.severity, "") + noun


def _place(finding: Finding) -> str:
    """Site, then the side in brackets."""
    site = load_lexicon("zh").names["sites"][finding.site]
    return f"{site}（{SIDES[finding.laterality]}）" if finding.laterality in SIDES else site


def _size(finding: Finding) -> str:
    return f"{(finding.size_mm or 0.0) / 10:.1f}cm"


def _signals(finding: Finding, facts: ReportFacts, rng: np.random.Generator) -> str:
    """Signals, one short sentence; empty where there is none to name."""
    parts = []
    for name in facts.sequences:
        values = [signal.signal for signal in finding.signals if signal.sequence == name]
        if values and name in SEQUENCE_WORDS:
            parts.append(f"{SEQUENCE_WORDS[name]}信号{'内' if len(values) > 1 else ''}{SIGNAL_WORDS[values[0]]}")
    parts = [parts[i] for i in sorted(rng.permutation(len(parts))[: int(rng.integers(2, 5))])]
    if any(s.signal == "enhancing" for s in finding.signals):
        parts.append("注药后有强化")
    return "、".join(parts) + "。" if parts else ""


def _conclude(told: Told) -> str:
    """The line of the impression on one finding."""
    rng = np.random.default_rng(told.seed + 1)
    finding = told.finding
    text = _hedged(finding, _noun(finding, rng), rng)
    if finding.finding in ("ventricular dilation", "atrophy"):
        return f"{text}。"
    return f"{text}，{_place(finding)}。"
