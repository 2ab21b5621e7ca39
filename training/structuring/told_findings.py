"""What the sentences on one lesion state, as findings: only what can be read, which is less than what is known.

The writers of the realistic form leave out sizes, name some of the sequences, and hedge. `told_findings` takes what a
writer was given and the words it made of it, and keeps of the former what the latter say, by the annotation guide: a
hedged diagnosis after a description is two entries, acuity and count are taken where a word carries them.
"""

import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from selip.processing.findings import Finding, Signal
from selip.processing.sources.simulated.realistic import (
    chinese_held_out,
    chinese_train,
    english_held_out,
    english_train,
)
from selip.processing.sources.simulated.realistic.facts import Told

# Terms whose words carry the acuity; of the others the truth has one that no report of these writers says.
SAYS_ACUITY = ("acute infarct", "subacute infarct", "lacune", "encephalomalacia", "hemorrhage")
DESCRIPTION = "signal abnormality"

_RIMS = {"hypo": "hyper", "hyper": "hypo"}
_SEVERAL = re.compile(r"\b(multiple|several|hyperintensities|lesions|foci)\b|多发|数个")
_ARTICLE = re.compile(r"\b[Aa]n? ")
_DESCRIBED_ONE = re.compile(r"\b[Aa] (subtle )?(lesion|focus)\b")
_DESCRIBES = re.compile(r"\b(lesion|focus|signal abnormality)\b|信号影", re.IGNORECASE)
_HEDGES = re.compile(
    r"likely|may represent|possibl[ey]|probable|suspected|favoured|equivocal|cannot be excluded|"
    r"考虑|待排|可能性大|疑|倾向|不除外|不能排除",
    re.IGNORECASE,
)
_QUESTIONED = re.compile(r"questionable|可疑")
_ENHANCES = re.compile(r"enhance|contrast uptake|强化", re.IGNORECASE)


def told_findings(told: Told, text: str, conclusion: str, writer: ModuleType, language: str) -> list[Finding]:
    """The entries that the sentences on one lesion are worth.

    Args:
        told: what the writer was given.
        text: its sentences on it in the findings section.
        conclusion: its sentence on it in the impression, which may add a word of shape; "" where there is none.
        writer: module of the writer.
        language: en or zh.

    Returns:
        One entry, or two where a description is followed by a hedged diagnosis: the description first.
    """
    first = re.split(r"(?<=\.) (?=[A-Z])|(?<=。)", text, maxsplit=1)[0]
    meant = told.finding
    place = {"finding": meant.finding, "site": meant.site, "laterality": meant.laterality}
    shown = {"signals": stated_signals(meant, text, writer), "change": meant.change}
    looks = {
        "morphology": stated_morphology(meant, text, language),
        "count": _stated_count(first, language),
        "size_mm": meant.size_mm if told.gives_size else None,
    }
    grades = {
        "severity": meant.severity,
        "acuity": meant.acuity if meant.finding in SAYS_ACUITY else "none",
        # of what changes the whole head, some writers speak without a doubt whatever they are given
        "certainty": meant.certainty if _HEDGES.search(first) else "present",
    }
    concluded = {"morphology": stated_morphology(meant, f"{text} {conclusion}".lower(), language)}
    diagnosis = Finding.model_validate(place | looks | concluded | grades)
    if diagnosis.certainty == "present" or _DESCRIBES.search(first) is None:
        entries = [diagnosis.model_copy(update=shown)]
        if diagnosis.certainty != "present" and conclusion and not _HEDGES.search(conclusion):
            entries.append(diagnosis.model_copy(update={"certainty": "present"}))  # the sections disagree: both count
        return entries
    description = {
        **place,
        **shown,
        **looks,
        "finding": DESCRIPTION,
        "count": _described_count(first, language),
        "severity": "mild" if "subtle" in first else "none",
        "certainty": "possible" if _QUESTIONED.search(first) else "present",
    }
    return [Finding.model_validate(description), diagnosis]


def stated_morphology(finding: Finding, text: str, language: str) -> list[str]:
    """The morphology of a finding that the text names."""
    if language == "zh":
        shapes = chinese_train.SHAPES  # the second writer names none
        return [word for word in finding.morphology if word in shapes and shapes[word] in text]
    return [word for word in finding.morphology if re.search(rf"\b{word}\b", text)]


def _stated_count(sentence: str, language: str) -> int | str:
    """Of the lesion: several, one where English has an article before it, else not said."""
    if _SEVERAL.search(_DESCRIBED_ONE.sub("", sentence)):
        return "multiple"
    return 1 if language == "en" and _ARTICLE.search(_DESCRIBED_ONE.sub("", sentence)) else "none"


def _described_count(sentence: str, language: str) -> int | str:
    if language == "zh":
        return _stated_count(sentence, language)
    return 1 if _DESCRIBED_ONE.search(sentence) else "none"


def stated_signals(finding: Finding, text: str, writer: ModuleType) -> list[Signal]:
    """The signals of a finding that the text names, in the order of the schema."""
    known = {(signal.sequence, signal.signal) for signal in finding.signals}
    found = {signal for phrase, signals in _signal_phrases(writer).items() if phrase in text for signal in signals}
    # "restricted" is a reading of two signals, not one that the truth lists
    stated = {pair for pair in found if pair in known or pair[1] == "restricted"}
    if _ENHANCES.search(text) and ("T1c", "enhancing") in known:
        stated.add(("T1c", "enhancing"))
    return ordered_signals(stated)


def ordered_signals(pairs: set[tuple[str, str]]) -> list[Signal]:
    """Signals in the order of the schema, each once."""
    sequences = ("T1w", "T1c", "T2w", "FLAIR", "DWI", "ADC", "SWI")
    words = ("hyper", "hypo", "iso", "mixed", "restricted", "enhancing")
    ordered = sorted(pairs, key=lambda pair: (sequences.index(pair[0]), words.index(pair[1])))
    return [Signal.model_validate({"sequence": sequence, "signal": signal}) for sequence, signal in ordered]


@cache
def _signal_phrases(writer: ModuleType) -> dict[str, tuple[tuple[str, str], ...]]:
    """How a writer says the signals: phrase to (sequence, signal) pairs."""
    phrases: dict[str, tuple[tuple[str, str], ...]] = {}
    for sequence, names in writer.SEQUENCE_WORDS.items():
        for name in (names,) if isinstance(names, str) else names:
            for signal in writer.SIGNAL_WORDS:
                phrases |= {
                    phrase: tuple((sequence, value) for value in values)
                    for phrase, values in _PHRASES[writer](name, signal, writer.SIGNAL_WORDS)
                }
    if writer is english_train:
        phrases["restricted diffusion with low ADC"] = (("DWI", "restricted"), ("ADC", "hypo"))
        phrases["restricted diffusion on DWI and ADC"] = (("DWI", "restricted"), ("ADC", "restricted"))
    return phrases


Phrases = Iterator[tuple[str, tuple[str, ...]]]


def _english_train(name: str, signal: str, words: dict[str, str]) -> Phrases:
    yield f"{words[signal]} on {name}", (signal,)
    if signal in _RIMS:
        yield f"{words[signal]} with a {words[_RIMS[signal]]} rim on {name}", (signal, _RIMS[signal])


def _english_held_out(name: str, signal: str, words: dict[str, str]) -> Phrases:
    yield f"{name} {words[signal]}", (signal,)


def _chinese_train(name: str, signal: str, words: dict[str, str]) -> Phrases:
    yield f"{name}呈{words[signal]}", (signal,)
    if signal in _RIMS:
        yield f"{name}呈{words[signal]}伴周边{words[_RIMS[signal]]}", (signal, _RIMS[signal])


def _chinese_held_out(name: str, signal: str, words: dict[str, str]) -> Phrases:
    yield f"{name}信号{words[signal]}", (signal,)
    yield f"{name}信号内{words[signal]}", (signal,)


_PHRASES = {
    english_train: _english_train,
    english_held_out: _english_held_out,
    chinese_train: _chinese_train,
    chinese_held_out: _chinese_held_out,
}
