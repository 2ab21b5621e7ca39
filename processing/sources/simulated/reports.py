"""The free-text English report of a study, written from its true findings.

Wording lives here only; no sentence is shared with the package's structurer, renderer or lexicons.
"""

from dataclasses import dataclass

import numpy as np

from selip.processing.findings import Finding

from .streams import Purpose, generator

SPOKEN_RATE = 0.7
"""Part of the findings whose description names sequences and signals."""

# How the description of a finding calls it before the diagnosis: by term, several ways.
NOUNS: dict[str, tuple[str, ...]] = {
    "acute infarct": ("acute infarct", "acute infarction", "area of acute ischemic infarction"),
    "chronic infarct": ("chronic infarct", "old infarct", "remote infarction"),
    "lacune": ("lacunar infarct", "lacune", "old lacunar infarct"),
    "white matter lesion": ("white matter lesion", "white matter hyperintensity"),
    "hemorrhage": ("intraparenchymal hemorrhage", "hematoma", "parenchymal hemorrhage"),
    "cyst": ("cyst", "cystic lesion"),
    "mass": ("mass", "mass lesion", "intra-axial tumor"),
    "edema": ("vasogenic edema", "edema", "edematous change"),
    "abscess": ("abscess", "brain abscess"),
}

PLURALS: dict[str, tuple[str, ...]] = {
    "acute infarct": ("acute infarcts", "foci of acute infarction"),
    "white matter lesion": ("white matter lesions", "white matter hyperintensities"),
}

MASS_NOUNS = ("vasogenic edema", "edema", "edematous change")

CONCLUSIONS: dict[str, tuple[str, ...]] = {
    "acute infarct": (
        "Acute infarct in the {place}.",
        "Acute ischemic stroke involving the {place}.",
        "{Place} acute infarct.",
    ),
    "chronic infarct": ("Chronic infarct in the {place}.", "Old infarct of the {place}.", "{Place} chronic infarct."),
    "lacune": ("Old lacunar infarct in the {place}.", "Lacune of the {place}.", "{Place} lacunar infarct."),
    "white matter lesion": (
        "White matter lesions in the {place}.",
        "White matter disease of the {place}.",
        "{Place} white matter hyperintensities.",
    ),
    "hemorrhage": (
        "{Age} hemorrhage in the {place}.",
        "{Age} hematoma of the {place}.",
        "{Place} hematoma, {age}.",
    ),
    "cyst": ("Cyst in the {place}.", "Benign-appearing cyst of the {place}.", "{Place} cyst."),
    "mass": ("Mass in the {place}.", "Tumor of the {place}; further work-up is advised.", "{Place} mass."),
    "edema": ("Vasogenic edema in the {place}.", "{Place} edema.", "Edema of the {place}."),
    "abscess": ("Abscess in the {place}.", "{Place} brain abscess.", "Abscess of the {place}."),
}

NEGATIVES: tuple[tuple[str, ...], ...] = (
    ("No midline shift or hydrocephalus.", "There is no midline shift.", "No hydrocephalus."),
    ("No extra-axial fluid collection.", "No subdural or epidural hematoma is seen."),
    ("The ventricles are normal in size.", "The ventricular system is normal in size and configuration."),
    ("The basal cisterns are patent.", "Basal cisterns are clear."),
    ("Flow voids of the major vessels are preserved.", "Major intracranial flow voids are maintained."),
    ("The orbits are unremarkable.", "Paranasal sinuses and mastoid air cells are clear."),
    ("The calvarium is normal.", "Normal appearance of the skull base."),
)

# Negative statements: not made where one of these terms is among the findings, or the sequence they need is not there.
CONDITIONAL_NEGATIVES: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    (
        ("acute infarct", "abscess", "hemorrhage"),
        "DWI",
        ("No restricted diffusion.", "No evidence of diffusion restriction."),
    ),
    (("acute infarct",), "DWI", ("No acute infarct is identified.", "There is no evidence of acute infarction.")),
    (("hemorrhage",), "", ("No intracranial hemorrhage.", "There is no evidence of hemorrhage.")),
    (("mass", "abscess", "cyst", "hemorrhage"), "", ("No mass effect.", "No mass lesion is seen.")),
)

NORMAL_FINDINGS: tuple[tuple[str, ...], ...] = (
    (
        "The brain parenchyma is normal in signal and morphology.",
        "Normal signal intensity of the brain parenchyma.",
        "Gray-white matter differentiation is preserved, without abnormal signal.",
    ),
    ("Sulci and gyri are normal for age.", "The cerebral sulci are within normal limits."),
)

NORMAL_CONCLUSIONS = (
    "Normal MRI of the brain.",
    "Unremarkable brain MRI.",
    "No acute intracranial abnormality.",
    "Normal head MRI without focal lesion.",
)


@dataclass(frozen=True)
class Report:
    """Report of one study.

    Args:
        findings: text of the findings section.
        impression: sentences of the impression.
        preamble: what stands before the findings, with its line ends.
        headings: of the two sections.
    """

    findings: str
    impression: tuple[str, ...]
    preamble: str = ""
    headings: tuple[str, str] = ("FINDINGS:", "IMPRESSION:")

    @property
    def text(self) -> str:
        """The report as a file holds it."""
        lines = self.impression
        if len(lines) > 1:
            lines = tuple(f"{number}. {line}" for number, line in enumerate(lines, start=1))
        first, second = self.headings
        return f"{self.preamble}{first}\n{self.findings}\n\n{second}\n" + "\n".join(lines) + "\n"


def write_report(truth: list[Finding], sequences: tuple[str, ...], seed: int, patient: int, session: int) -> Report:
    """Write the report of a study.

    Args:
        truth: present findings of the study.
        sequences: sequences of the study; no other is named.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        Findings text and impression sentences. Statements of absence are true of the study.
    """
    rng = generator(seed, Purpose.REPORT, patient, session)
    present = {finding.finding for finding in truth}
    statements = [_describe(finding, sequences, rng) for finding in truth]
    background = [pick(options, rng) for options in NEGATIVES]
    background += [
        pick(options, rng)
        for terms, needed, options in CONDITIONAL_NEGATIVES
        if not present.intersection(terms) and (not needed or needed in sequences)
    ]
    background = [background[i] for i in rng.permutation(len(background))[: int(rng.integers(2, 6))]]
    if not truth:
        body = [pick(options, rng) for options in NORMAL_FINDINGS] + background
        return Report(" ".join(body), (pick(NORMAL_CONCLUSIONS, rng),))
    body = [statements[i] for i in rng.permutation(len(statements))]
    split = int(rng.integers(len(background) + 1)) if rng.random() < 0.4 else 0
    conclusions = [_conclude(truth[i], rng) for i in rng.permutation(len(truth))]
    return Report(" ".join([*background[:split], *body, *background[split:]]), tuple(conclusions))


def _describe(finding: Finding, sequences: tuple[str, ...], rng: np.random.Generator) -> str:
    """One or two sentences on one finding: noun, shape, size, place, and mostly the signals."""
    is_plural = finding.count == "multiple" and finding.finding in PLURALS
    nouns = PLURALS if is_plural else NOUNS
    noun = pick(nouns[finding.finding], rng)
    phrase = _noun_phrase(finding, noun, rng, is_plural=is_plural)
    place = _place(finding, rng)
    verb = "are" if is_plural else "is"
    spoken = _signal_phrase(finding, sequences, rng) if rng.random() < SPOKEN_RATE else ""
    size = _size(finding, rng, is_plural=is_plural)
    opening = int(rng.integers(4))
    if opening == 0:
        sentence = f"There {verb} {phrase} in the {place}{size}"
    elif opening == 1:
        sentence = (
            f"{upper(phrase)} {verb} {pick(('seen', 'identified', 'noted', 'present'), rng)} in the {place}{size}"
        )
    elif opening == 2:
        sentence = f"In the {place} there {verb} {phrase}{size}"
    else:
        sentence = f"The {place} {pick(('shows', 'demonstrates', 'contains'), rng)} {phrase}{size}"
    if not spoken:
        return sentence + "."
    style = int(rng.integers(3))
    if style == 0:
        return f"{sentence}, {spoken}."
    if style == 1:
        return f"{sentence}. {'These are' if is_plural else 'This is'} {spoken}."
    return f"{sentence}. {'The lesions are' if is_plural else 'The lesion is'} {spoken}."


def _noun_phrase(finding: Finding, noun: str, rng: np.random.Generator, *, is_plural: bool) -> str:
    """Article, adjectives of shape and age, and the noun."""
    adjectives = [word for word in finding.morphology if word not in ("ring", "patchy") or not is_plural]
    adjectives = [word if word != "ring" else "ring-shaped" for word in adjectives]
    if finding.finding == "hemorrhage":
        adjectives.append(finding.acuity)
    if is_plural:
        adjectives = [pick(("multiple", "several"), rng), *adjectives]
    words = ", ".join(adjectives[:-1]) + (" " if len(adjectives) > 1 else "") + "".join(adjectives[-1:])
    phrase = f"{words} {noun}".strip()
    if is_plural or noun in MASS_NOUNS:
        return phrase
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _place(finding: Finding, rng: np.random.Generator) -> str:
    """Side and site in words."""
    site = finding.site
    if finding.laterality == "bilateral":
        plural = {"centrum semiovale": "centra semiovale", "corona radiata": "corona radiata"}
        lobes = site.replace(" lobe", " lobes")
        return f"bilateral {plural.get(site, lobes)}"
    if site == "cerebellar hemisphere":
        return f"{finding.laterality} {pick(('cerebellum', 'cerebellar hemisphere'), rng)}"
    if site.endswith(" lobe") and rng.random() < 0.15:
        return f"{finding.laterality} {site.removesuffix(' lobe')} region"
    return f"{finding.laterality} {site}"


def _size(finding: Finding, rng: np.random.Generator, *, is_plural: bool) -> str:
    """Size in mm or cm, mostly given."""
    if rng.random() < 0.2:
        return ""
    millimetres = finding.size_mm or 0.0
    text = f"{millimetres / 10:.1f} cm" if millimetres >= 10 and rng.random() < 0.5 else f"{millimetres:.0f} mm"
    if is_plural:
        return f", the largest measuring {text}" if rng.random() < 0.5 else f", up to {text} in size"
    return pick((f" measuring {text}", f", {text} in diameter", f", approximately {text} in size"), rng)


def _signal_phrase(finding: Finding, sequences: tuple[str, ...], rng: np.random.Generator) -> str:
    """Signals of the sequences that were acquired, in the words of a report; empty where none can be named."""
    signals = [(s.sequence, s.signal) for s in finding.signals if s.sequence in sequences]
    by_sequence: dict[str, list[str]] = {}
    for sequence, value in signals:
        by_sequence.setdefault(sequence, []).append(value)
    parts = []
    t2, flair = by_sequence.get("T2w"), by_sequence.get("FLAIR")
    if t2 and t2 == flair:
        parts.append(f"{pick(('T2/FLAIR {}intense', '{}intense on T2 and FLAIR'), rng).format(t2[0])}")
    else:
        if t2:
            parts.append(
                pick(("T2 {}intense", "{}intense on T2-weighted images", "{}intense on T2"), rng).format(t2[0])
            )
        if flair == ["hypo", "hyper"]:
            parts.append(
                pick(("hypointense with a hyperintense rim on FLAIR", "dark on FLAIR with a hyperintense rim"), rng)
            )
        elif flair:
            parts.append(pick(("FLAIR {}intense", "{}intense on FLAIR"), rng).format(flair[0]))
    if "T1w" in by_sequence and rng.random() < 0.8:
        parts.append(
            pick(("{}intense on T1", "T1 {}intense", "{}intense on T1-weighted images"), rng).format(
                by_sequence["T1w"][0]
            )
        )
    parts = [parts[i] for i in rng.permutation(len(parts))]
    return join(parts) + _diffusion(by_sequence, bool(parts), rng)


def _diffusion(by_sequence: dict[str, list[str]], is_continued: bool, rng: np.random.Generator) -> str:
    """Words on DWI and ADC, to follow the other signals."""
    dwi, adc = by_sequence.get("DWI"), by_sequence.get("ADC")
    if dwi == ["hyper"] and adc == ["hypo"]:
        text = pick(
            ("restricted diffusion and low ADC", "restricted diffusion with corresponding low ADC values"), rng
        )
        return f", with {text}" if is_continued else "hyperintense on DWI with low ADC"
    words = []
    if dwi:
        words.append(pick(("{}intense on DWI", "DWI {}intense"), rng).format(dwi[0]))
    if adc and rng.random() < 0.7:
        words.append("associated with " + {"hyper": "increased ADC", "hypo": "decreased ADC"}[adc[0]])
    if not words:
        return ""
    return (", " if is_continued else "") + join(words)


def _conclude(finding: Finding, rng: np.random.Generator) -> str:
    """Sentence of the impression on one finding."""
    template = pick(CONCLUSIONS[finding.finding], rng)
    place = _place(finding, rng)
    age = finding.acuity
    return template.format(place=place, Place=upper(place), age=age, Age=upper(age))


def join(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
