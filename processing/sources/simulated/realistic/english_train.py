"""The first English writer: running prose in American spelling, for training and pseudo data.

Wording lives here only. It shares no sentence with the second writer (`english_held_out.py`; a test compares them),
nor with the package's structurer, renderer or lexicons.
"""

import numpy as np

from selip.processing.findings import Finding

from ..reports import Report, join, pick, upper
from .facts import ReportFacts, Told

NOUNS: dict[str, tuple[str, ...]] = {
    "acute infarct": ("acute infarct", "acute ischemic infarct", "area of acute infarction"),
    "subacute infarct": ("subacute infarct", "evolving subacute infarct"),
    "encephalomalacia": ("area of encephalomalacia", "region of encephalomalacia"),
    "lacune": ("chronic lacunar infarct", "old lacunar infarct", "lacune"),
    "white matter lesion": ("white matter hyperintensities", "white matter lesions", "foci of white matter disease"),
    "hemorrhage": ("intraparenchymal hemorrhage", "parenchymal hematoma"),
    "microbleed": ("microhemorrhage", "cerebral microbleed"),
    "subdural hematoma": ("subdural hematoma",),
    "cavernous malformation": ("cavernous malformation", "cavernoma"),
    "meningioma": ("meningioma", "dural-based meningioma"),
    "glioma": ("glioma", "infiltrative glioma"),
    "metastasis": ("metastasis", "metastatic lesion"),
    "edema": ("vasogenic edema", "surrounding vasogenic edema"),
    "arachnoid cyst": ("arachnoid cyst",),
    "retention cyst": ("mucous retention cyst", "retention cyst"),
    "mucosal thickening": ("mucosal thickening",),
    "perivascular space": ("dilated perivascular space", "prominent perivascular space"),
    "demyelinating plaque": ("demyelinating plaque", "demyelinating lesion"),
    "abscess": ("brain abscess", "abscess"),
    "ventricular dilation": ("ventricular enlargement", "ventriculomegaly"),
    "atrophy": ("generalized cerebral volume loss", "diffuse cerebral atrophy"),
}

PLURALS: dict[str, str] = {
    "acute infarct": "acute infarcts",
    "subacute infarct": "subacute infarcts",
    "microbleed": "microhemorrhages",
    "perivascular space": "dilated perivascular spaces",
    "demyelinating plaque": "demyelinating plaques",
}
UNCOUNTED = ("edema", "mucosal thickening", "ventricular dilation", "atrophy", "white matter lesion", "hemorrhage")

SIGNAL_WORDS = {"hyper": "hyperintense", "hypo": "hypointense", "iso": "isointense"}
SEQUENCE_WORDS = {
    "T1w": ("T1-weighted images", "T1"),
    "T2w": ("T2-weighted images", "T2"),
    "FLAIR": ("FLAIR images", "FLAIR"),
    "DWI": ("diffusion-weighted images", "DWI"),
    "ADC": ("the ADC map", "ADC"),
    "SWI": ("susceptibility-weighted images", "SWI"),
}

CHANGES = {
    "new": ("This is new since the prior study.", "This was not present on the prior examination."),
    "unchanged": ("This is unchanged from the prior study.", "No significant interval change since the prior study."),
    "larger": ("This has increased in size since the prior study.", "There has been interval growth."),
    "smaller": ("This has decreased in size since the prior study.", "There has been interval decrease in size."),
}

RESOLVED = {
    "subdural hematoma": "The previously seen subdural hematoma has resolved.",
    "extra-axial collection": "The extra-axial fluid collection on the prior study has resolved.",
    "edema": "The vasogenic edema on the prior study has resolved.",
}

DENIALS: dict[str, tuple[str, ...]] = {
    "restricted diffusion": ("No restricted diffusion is seen.", "There is no diffusion restriction."),
    "acute infarct": ("No evidence of acute infarct.", "There is no acute infarction."),
    "hemorrhage": ("No evidence of intracranial hemorrhage.", "There is no acute intracranial hemorrhage."),
    "microbleed": (
        "No microhemorrhages are identified.",
        "There are no foci of susceptibility to suggest microhemorrhage.",
    ),
    "mass": ("There is no mass or mass effect.", "No intracranial mass is identified."),
    "abnormal enhancement": (
        "No abnormal enhancement after contrast.",
        "There is no abnormal parenchymal enhancement.",
    ),
    "midline shift": ("No midline shift.", "There is no shift of the midline structures."),
    "hydrocephalus": ("There is no hydrocephalus.", "No evidence of hydrocephalus."),
    "extra-axial collection": ("No extra-axial fluid collection.", "There is no extra-axial collection."),
}

REGIONS: dict[str, tuple[str, ...]] = {
    "ventricles": (
        "The ventricles are normal in size and configuration.",
        "Ventricular size is within normal limits.",
    ),
    "sulci": ("The sulci are normal for age.", "Sulcal pattern is age appropriate."),
    "cisterns": ("The basal cisterns are patent.", "The basilar cisterns are preserved."),
    "vessels": ("The major intracranial flow voids are preserved.", "Normal vascular flow voids are maintained."),
    "paranasal sinuses": ("The paranasal sinuses are clear.", "The visualized paranasal sinuses are well aerated."),
    "mastoids": ("The mastoid air cells are clear.", "Mastoid air cells are well aerated."),
    "orbits": ("The orbits are unremarkable.", "The globes and orbits appear intact."),
    "skull": ("Calvarial marrow signal is normal.", "The bony calvarium is unremarkable."),
    "pituitary": ("The pituitary gland is unremarkable.", "The sella appears normal."),
    "craniocervical junction": ("The craniocervical junction is normal.", "The foramen magnum is unremarkable."),
}

NORMAL_OPENINGS = (
    "The brain parenchyma is normal in signal intensity.",
    "There is normal gray-white matter differentiation without focal signal abnormality.",
    "Brain volume and signal are within normal limits for age.",
)
NORMAL_CONCLUSIONS = (
    "Unremarkable MRI of the brain.",
    "Normal brain MRI.",
    "No acute intracranial abnormality.",
)
ARTEFACTS = {
    "motion": "The study is degraded by patient motion.",
    "flow": "Pulsation artifact is noted on some sequences.",
}
HISTORIES = ("headache", "dizziness", "memory loss", "weakness", "seizure", "follow-up", "altered mental status")


def write(facts: ReportFacts) -> Report:
    """Word the report of a study.

    Args:
        facts: what it says.

    Returns:
        Findings in running prose and a numbered impression.
    """
    rng = np.random.default_rng(facts.seed)
    sex = {"F": "female", "M": "male"}[facts.sex]
    preamble = f"HISTORY: {facts.age}-year-old {sex} with {pick(HISTORIES, rng)}.\n"
    preamble += f"COMPARISON: {'Prior MRI.' if facts.has_prior else 'None.'}\n\n"
    main = [told for told in facts.told if not told.is_incidental]
    aside = [told for told in facts.told if told.is_incidental]
    sentences = [ARTEFACTS[name] for name in facts.artefacts]
    sentences += [] if main else [pick(NORMAL_OPENINGS, rng)]
    if not main and {"T2w", "FLAIR"} <= set(facts.sequences):
        sentences.append("No abnormal signal is seen on T2-weighted or FLAIR images.")
    sentences += [_describe(told, facts) for told in main]
    if facts.resolved:
        sentences.append(RESOLVED[facts.resolved])
    background = [pick(DENIALS[term], rng) for term in facts.denied]
    background += [pick(REGIONS[region], rng) for region in facts.normal]
    sentences += [background[i] for i in rng.permutation(len(background))]
    sentences += [_describe(told, facts) for told in aside]
    conclusions = [_conclude(told) for told in (*main, *aside) if told.finding.finding != "edema"]
    if facts.has_prior and not facts.told and rng.random() < 0.5:
        conclusions = ["No interval change from the prior study."]
    return Report(" ".join(sentences), tuple(conclusions or [pick(NORMAL_CONCLUSIONS, rng)]), preamble)


def _describe(told: Told, facts: ReportFacts) -> str:
    """The sentences on one finding."""
    rng = np.random.default_rng(told.seed)
    finding = told.finding
    if finding.finding in ("ventricular dilation", "atrophy"):
        sentence = f"There is {finding.severity} {pick(NOUNS[finding.finding], rng)}."
    else:
        sentence = _located(told, rng)
    if told.names_signals:
        sentence += _signals(finding, facts, rng)
    elif finding.finding != "edema" and any(s.signal == "enhancing" for s in finding.signals):
        sentence += " " + pick(("It enhances after contrast.", "There is associated contrast enhancement."), rng)
    if finding.change != "none":
        sentence += " " + pick(CHANGES[finding.change], rng)
    return sentence


def _located(told: Told, rng: np.random.Generator) -> str:
    """The sentence that says what is where, how large, and how sure."""
    finding = told.finding
    place, phrase, is_plural = _place(finding), *_phrase(finding, rng)
    size = f", measuring {_size(finding, rng)}" if told.gives_size else ""
    if is_plural and size:
        size = f", the largest measuring {_size(finding, rng)}"
    if finding.certainty == "probable":
        return pick(
            (
                f"There is a lesion in the {place}{size}, most likely {phrase}.",
                f"Signal abnormality in the {place}{size} most likely represents {phrase}.",
            ),
            rng,
        )
    if finding.certainty == "possible":
        return pick(
            (
                f"A subtle focus in the {place}{size} may represent {phrase}.",
                f"There is questionable signal abnormality in the {place}{size}, possibly {phrase}.",
            ),
            rng,
        )
    verb = "are" if is_plural else "is"
    return pick(
        (
            f"There {verb} {phrase} in the {place}{size}.",
            f"{upper(phrase)} {verb} present in the {place}{size}.",
            f"{upper(phrase)} {verb} seen within the {place}{size}.",
            f"The {place} {'show' if finding.laterality == 'bilateral' else 'shows'} {phrase}{size}.",
        ),
        rng,
    )


def _phrase(finding: Finding, rng: np.random.Generator) -> tuple[str, bool]:
    """Noun phrase with its adjectives, and whether it is plural."""
    is_plural = finding.count == "multiple" and finding.finding in PLURALS
    noun = PLURALS[finding.finding] if is_plural else pick(NOUNS[finding.finding], rng)
    words = [
        word for word in finding.morphology if word in ("irregular", "oval", "round", "lobulated", "patchy", "small")
    ]
    adjectives = [] if rng.random() < 0.4 or "mass" in noun or "surrounding" in noun else words[:1]
    if finding.finding == "hemorrhage":
        adjectives.insert(0, finding.acuity)
    if finding.severity != "none":
        adjectives.insert(0, finding.severity)
    if is_plural:
        adjectives.insert(0, "multiple")
    phrase = " ".join([*adjectives, noun])
    if is_plural or finding.finding in UNCOUNTED:
        return phrase, is_plural or finding.finding == "white matter lesion"
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase, False


def _place(finding: Finding) -> str:
    """Side and site in words."""
    site = finding.site
    if finding.finding == "subdural hematoma":
        return f"{finding.laterality} subdural space"
    if finding.laterality == "bilateral":
        site = {"centrum semiovale": "centra semiovale"}.get(site, site.replace(" lobe", " lobes"))
        site = site.replace("maxillary sinus", "maxillary sinuses")
        return f"bilateral {site}"
    return f"{finding.laterality} {site}"


def _size(finding: Finding, rng: np.random.Generator) -> str:
    millimetres = finding.size_mm or 0.0
    return f"{millimetres / 10:.1f} cm" if millimetres >= 10 and rng.random() < 0.5 else f"{millimetres:.0f} mm"


def _signals(finding: Finding, facts: ReportFacts, rng: np.random.Generator) -> str:
    """A sentence on the signals by sequence; empty where there is none to name."""
    signals: dict[str, list[str]] = {}
    for signal in finding.signals:
        if signal.sequence in facts.sequences:
            signals.setdefault(signal.sequence, []).append(signal.signal)
    parts = []
    if signals.get("DWI") == ["hyper"] and signals.get("ADC") == ["hypo"]:
        parts.append(pick(("restricted diffusion with low ADC", "restricted diffusion on DWI and ADC"), rng))
        signals.pop("DWI"), signals.pop("ADC")
    looks = [
        f"{_look(values)} on {pick(SEQUENCE_WORDS[name], rng)}"
        for name, values in signals.items()
        if name in SEQUENCE_WORDS
    ]
    looks = [looks[i] for i in rng.permutation(len(looks))[: int(rng.integers(1, 4))]]
    if signals.get("T1c") == ["enhancing"]:
        parts.append(pick(("enhancement on postcontrast T1-weighted images", "contrast enhancement"), rng))
    if not looks and not parts:
        return ""
    verb = "These are" if finding.count == "multiple" or finding.finding == "white matter lesion" else "This is"
    text = f" {verb} {join(looks)}" if looks else f" There is associated {join(parts)}"
    return f"{text}, with {join(parts)}." if looks and parts else f"{text}."


def _look(values: list[str]) -> str:
    if values == ["hypo", "hyper"]:
        return "hypointense with a hyperintense rim"
    if values == ["hyper", "hypo"]:
        return "hyperintense with a hypointense rim"
    return SIGNAL_WORDS[values[0]]


def _conclude(told: Told) -> str:
    """The sentence of the impression on one finding."""
    rng = np.random.default_rng(told.seed + 1)
    finding = told.finding
    if finding.finding in ("ventricular dilation", "atrophy"):
        return f"{upper(finding.severity)} {pick(NOUNS[finding.finding], rng)}."
    phrase = _phrase(finding, rng)[0]
    bare = phrase.removeprefix("an ").removeprefix("a ")
    place = _place(finding)
    if finding.certainty == "probable":
        return pick((f"Probable {bare} in the {place}.", f"Likely {bare} in the {place}."), rng)
    if finding.certainty == "possible":
        return f"Possible {bare} in the {place}; correlate clinically."
    return pick((f"{upper(bare)} in the {place}.", f"{upper(bare)} of the {place}.", f"{upper(place)} {bare}."), rng)
