"""The second English writer: terse lines by region in British spelling, for validation and test.

Wording lives here only and shares no sentence with the first writer (`english_train.py`; a test compares them).
"""

import numpy as np

from selip.processing.findings import Finding

from ..reports import Report, pick, upper
from .facts import ReportFacts, Told

NOUNS: dict[str, tuple[str, ...]] = {
    "acute infarct": ("acute infarction", "acute ischaemic stroke", "recent infarct"),
    "subacute infarct": ("subacute infarction", "subacute ischaemic infarct"),
    "encephalomalacia": ("encephalomalacia", "encephalomalacic change"),
    "lacune": ("lacunar infarction", "chronic lacune"),
    "white matter lesion": ("white matter signal change", "leukoaraiosis"),
    "hemorrhage": ("parenchymal haemorrhage", "intracerebral haematoma"),
    "microbleed": ("microbleed", "cerebral microhaemorrhage"),
    "subdural hematoma": ("subdural haematoma", "subdural haemorrhage"),
    "cavernous malformation": ("cavernous angioma", "cavernous haemangioma"),
    "meningioma": ("meningioma",),
    "glioma": ("glioma", "glial neoplasm consistent with glioma"),
    "metastasis": ("metastatic deposit", "metastasis"),
    "edema": ("vasogenic oedema", "perilesional oedema"),
    "arachnoid cyst": ("arachnoid cyst",),
    "retention cyst": ("mucus retention cyst", "polyp or retention cyst"),
    "mucosal thickening": ("mucosal thickening", "mucosal disease"),
    "perivascular space": ("enlarged perivascular space", "Virchow-Robin space"),
    "demyelinating plaque": ("plaque of demyelination", "demyelinating focus"),
    "abscess": ("cerebral abscess", "abscess"),
    "ventricular dilation": ("dilatation of the ventricles", "ventricular dilatation"),
    "atrophy": ("involutional change", "cerebral atrophy"),
}

SIGNAL_WORDS = {"hyper": "bright", "hypo": "dark", "iso": "isointense"}
SEQUENCE_WORDS = {"T1w": "T1", "T2w": "T2", "FLAIR": "FLAIR", "DWI": "DWI", "ADC": "ADC", "SWI": "SWI"}

CHANGES = {
    "new": ("New compared with previous imaging.", "Newly developed."),
    "unchanged": ("Stable compared with previous imaging.", "Unchanged appearances."),
    "larger": ("Larger than on previous imaging.", "Has progressed."),
    "smaller": ("Smaller than on previous imaging.", "Has regressed."),
}

RESOLVED = {
    "subdural hematoma": "Earlier subdural haematoma no longer visible.",
    "extra-axial collection": "Earlier extra-axial collection no longer visible.",
    "edema": "Earlier oedema no longer visible.",
}

DENIALS: dict[str, tuple[str, ...]] = {
    "restricted diffusion": ("Diffusion imaging: no restriction.", "Without diffusion restriction."),
    "acute infarct": ("Negative for acute infarction.", "Without signs of recent infarction."),
    "hemorrhage": ("Negative for haemorrhage.", "Blood products absent."),
    "microbleed": ("SWI: no microbleeds.", "Negative for microbleeds."),
    "mass": ("Space-occupying lesion absent.", "Negative for tumour."),
    "abnormal enhancement": ("Pathological enhancement absent.", "Postcontrast: pathological enhancement absent."),
    "midline shift": ("Midline: no displacement.", "Midline central, not displaced."),
    "hydrocephalus": ("Negative for hydrocephalus.", "Without hydrocephalus."),
    "extra-axial collection": (
        "Subdural or other extra-axial collection absent.",
        "Negative for extra-axial collections.",
    ),
}

REGIONS: dict[str, tuple[str, ...]] = {
    "ventricles": ("Ventricles: normal calibre.", "Ventricles: not enlarged."),
    "sulci": ("Sulci: appropriate width.", "Sulci: normal."),
    "cisterns": ("Cisterns: normal.", "Cisterns: open."),
    "vessels": ("Vessels: expected flow voids.", "Arterial flow voids normal."),
    "paranasal sinuses": ("Sinuses: normal pneumatisation.", "Sinuses: clear."),
    "mastoids": ("Mastoids: normal pneumatisation.", "Mastoids: clear."),
    "orbits": ("Orbits: normal.", "Orbital contents normal."),
    "skull": ("Calvarium: normal.", "Skull vault normal."),
    "pituitary": ("Pituitary fossa: normal.", "Pituitary normal."),
    "craniocervical junction": ("Cerebellar tonsils: normal position.", "Craniocervical region: normal."),
}

NORMAL_OPENINGS = (
    "Parenchyma: normal.",
    "Parenchyma: homogeneous, normal signal throughout.",
    "Brain: normal appearances.",
)
NORMAL_CONCLUSIONS = ("Normal intracranial appearances.", "Normal study.", "Nothing abnormal: normal head MRI.")
ARTEFACTS = {"motion": "Limited by movement artefact.", "flow": "Flow artefact noted."}
QUESTIONS = (
    "Cephalgia?",
    "Vertigo, cause?",
    "Cognitive decline?",
    "Hemiparesis?",
    "Fits?",
    "Surveillance",
    "Confusion?",
)


def write(facts: ReportFacts) -> Report:
    """Word the report of a study.

    Args:
        facts: what it says.

    Returns:
        One line a finding or region, and the conclusion.
    """
    rng = np.random.default_rng(facts.seed)
    preamble = f"Clinical history: {pick(QUESTIONS, rng)} {facts.sex}, {facts.age}.\n\n"
    lines = [ARTEFACTS[name] for name in facts.artefacts]
    lines += [] if facts.told else [pick(NORMAL_OPENINGS, rng)]
    if not facts.told and {"T2w", "FLAIR"} <= set(facts.sequences):
        lines.append("T2 and FLAIR: nothing abnormal.")
    lines += [_describe(told, facts) for told in facts.told]
    if facts.resolved:
        lines.append(RESOLVED[facts.resolved])
    lines += [pick(REGIONS[region], rng) for region in facts.normal]
    lines += [pick(DENIALS[term], rng) for term in facts.denied]
    conclusions = [_conclude(told) for told in facts.told if told.finding.finding != "edema"]
    headings = ("Findings:", "Conclusion:")
    return Report("\n".join(lines), tuple(conclusions or [pick(NORMAL_CONCLUSIONS, rng)]), preamble, headings)


def _describe(told: Told, facts: ReportFacts) -> str:
    """The line on one finding: place, colon, what it is; size, signals and change in short sentences."""
    rng = np.random.default_rng(told.seed)
    finding = told.finding
    line = f"{upper(_place(finding))}: {_hedged(finding, _phrase(finding, rng), rng)}"
    if told.gives_size:
        line += pick((f", {_size(finding)}", f", {_size(finding)} across", f", up to {_size(finding)}"), rng)
    line += "."
    if told.names_signals:
        line += _signals(finding, facts, rng)
    elif finding.finding != "edema" and any(s.signal == "enhancing" for s in finding.signals):
        line += pick((" Enhances.", " Avid enhancement."), rng)
    if finding.change != "none":
        line += " " + pick(CHANGES[finding.change], rng)
    return line


def _hedged(finding: Finding, phrase: str, rng: np.random.Generator) -> str:
    if finding.certainty == "probable":
        return pick((f"suspected {phrase}", f"{phrase} favoured"), rng)
    if finding.certainty == "possible":
        return pick((f"equivocal for {phrase}", f"{phrase} cannot be excluded"), rng)
    return phrase


def _phrase(finding: Finding, rng: np.random.Generator) -> str:
    noun = pick(NOUNS[finding.finding], rng)
    words = []
    if finding.count == "multiple" and finding.finding not in ("white matter lesion", "edema"):
        noun = _plural(noun)
        words.append("several")
    if finding.severity != "none":
        words.append({"mild": "minor", "moderate": "moderate", "severe": "marked"}[finding.severity])
    if finding.finding == "hemorrhage":
        words.append(finding.acuity)
    return " ".join([*words, noun])


def _plural(noun: str) -> str:
    for ending, plural in (("plaque of", "plaques of"), ("stroke", "strokes"), ("focus", "foci")):
        if ending in noun:
            return noun.replace(ending, plural)
    return noun + "s"


def _place(finding: Finding) -> str:
    """Side and site, side first."""
    if finding.finding in ("ventricular dilation", "atrophy"):
        return {"ventricular dilation": "ventricular system", "atrophy": "brain volume"}[finding.finding]
    sides = {"left": "left", "right": "right", "bilateral": "both sides,"}
    return f"{sides[finding.laterality]} {finding.site}"


def _size(finding: Finding) -> str:
    return f"{finding.size_mm or 0.0:.0f} mm"


def _signals(finding: Finding, facts: ReportFacts, rng: np.random.Generator) -> str:
    """Signals, one short sentence: "T2 bright, DWI bright, ADC dark."."""
    parts = []
    for name in facts.sequences:
        values = [signal.signal for signal in finding.signals if signal.sequence == name]
        if not values:
            continue
        if name == "T1c":
            parts.append("contrast uptake")
        elif len(values) > 1:
            parts.append(f"{SEQUENCE_WORDS[name]} {SIGNAL_WORDS[values[0]]} centrally")
        else:
            parts.append(f"{SEQUENCE_WORDS[name]} {SIGNAL_WORDS[values[0]]}")
    parts = [parts[i] for i in sorted(rng.permutation(len(parts))[: int(rng.integers(2, 5))])]
    return f" {upper(', '.join(parts))}." if parts else ""


def _conclude(told: Told) -> str:
    """The line of the conclusion on one finding."""
    rng = np.random.default_rng(told.seed + 1)
    finding = told.finding
    phrase = _phrase(finding, rng)
    if finding.finding in ("ventricular dilation", "atrophy"):
        return f"{upper(phrase)}."
    return f"{upper(_hedged(finding, phrase, rng))}, {_place(finding)}."
