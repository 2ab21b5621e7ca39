"""Findings to text: one text per series, finding, study or impression, in English or Chinese.

Clause grammar of SeLIP (arXiv 2503.19801; method.md 1.1): Chinese `在<side+site>表现为<description>`, joined by `，`,
after the sequence name and ended by `。`; English `<sequence>: <side> <site> shows <description>; <...>.`

What enters a text
- Only findings that are present (`is_abnormal`): never a denied, resolved or `normal` one. Words of change ("new",
  "larger") never enter, because one study cannot show them.
- The description has certainty (only probable or possible), count (few or several), severity, acuity (unless the term
  says it), size class, morphology, signal, term. Size is a class, small below 10 mm and large from 30 mm on (a stated
  "small" or "large" where there is no number), so that texts stay distinct without millimetres that nobody sees on a
  coarse grid.
- In a series text only the signal of that very sequence: a signal without a sequence ("hyperintense") is bright on one
  sequence and dark on another, so it is told in study texts alone.
- Clauses stand in canonical order (site, side, term), each once: the order of findings does not change the text.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .comparisons import compares
from .findings import Finding, StructuredReport, is_abnormal
from .reports import report_language, split_sentences
from .statements import (
    READ_AS,
    Statement,
    column_of,
    denials,
    normal_statement,
    shapes_of,
    statement,
    told_acuity,
    told_count,
    told_signals,
)
from .text_selip import normalize_text
from .vocabulary import load_lexicon, load_terms, load_visibility

Language = Literal["en", "zh"]
UnnamedPolicy = Literal["visible", "copy-all", "drop"]

NORMAL_SENTENCE = {
    "en": "the skull is normal, the brain parenchyma shows no abnormal signal, the ventricles and sulci are neither "
    "widened nor narrowed, and the midline is not shifted",
    "zh": "颅骨未见异常，脑实质未见异常信号，脑室及脑沟未见扩张或变窄，中线结构无移位",
}
_LATERALITIES = ("left", "right", "bilateral", "midline", "none")
_SIGNALS = ("hyper", "hypo", "iso", "mixed", "restricted", "enhancing", "none")


@dataclass(frozen=True)
class Clause:
    """One statement of a text: where and what. The released similarity is computed on clauses."""

    location: str
    description: str


@dataclass(frozen=True)
class TextItem:
    """One text to pair with an image view. `normal`: the fixed sentence of a normal study, which has no clauses.

    `statements`: what its clauses say in canonical terms, and what the report denies of the same sequence (never
    rendered). The recommended similarity is computed on them.
    """

    text: str
    clauses: tuple[Clause, ...]
    normal: bool
    statements: tuple[Statement, ...] = ()


def series_text(
    report: StructuredReport, sequence: str, language: Language, unnamed: UnnamedPolicy = "visible"
) -> TextItem | None:
    """The text of one series, or None where the report says nothing of that sequence (no pair).

    Args:
        sequence: name of the series' sequence (`SEQUENCE_NAMES`); "unknown" gets the normal sentence or nothing.
        unnamed: what to do with a finding that names no sequence, or only other ones. "visible" offers it where the
            visibility table says yes (`maybe` counts as no), "copy-all" everywhere, "drop" nowhere. Findings that name
            the sequence are always told.
    """
    _check_sequence(sequence)
    if report.normal:
        return _normal_item(sequence, language)
    told = _told(_visible(report, sequence, unnamed), sequence, language)
    return _item(told, _denied(report, sequence, unnamed), sequence, language) if told else None


def finding_texts(
    report: StructuredReport, sequence: str, language: Language, unnamed: UnnamedPolicy = "visible"
) -> list[TextItem]:
    """One text per finding that the sequence shows, in canonical order; the normal sentence of a normal study."""
    _check_sequence(sequence)
    if report.normal:
        return [_normal_item(sequence, language)]
    told = _told(_visible(report, sequence, unnamed), sequence, language)
    denied = _denied(report, sequence, unnamed)
    return [_item({clause: said}, denied, sequence, language) for clause, said in told.items()]


def study_text(report: StructuredReport, language: Language) -> TextItem | None:
    """All findings of a study with all signals; None where the report is neither normal nor has a finding."""
    if report.normal:
        return _normal_item(None, language)
    told = _told(filter(is_abnormal, report.findings), None, language)
    return _item(told, _denied(report, None, "visible"), None, language) if told else None


def impression_text(report: StructuredReport, language: Language) -> TextItem | None:
    """The impression in the report's own words, without the sentences that compare with an earlier study.

    None where nothing is left. Clauses and statements are those of the study text, in `language`; the words are in
    that of the report.
    """
    text = _without_comparisons(report.impression)
    if not text:
        return None
    structured = study_text(report, language)
    return TextItem(text, (), report.normal) if structured is None else replace(structured, text=text)


def written_text(report: StructuredReport, written: str, language: Language) -> TextItem | None:
    """A section as written, without the sentences that compare with an earlier study.

    Args:
        report: the findings of the same study, for clauses and statements: those of the study text.
        written: the section, e.g. the findings, in any language of reports.
        language: of clauses and statements.

    Returns:
        None where no words are left, or where the findings have no study text.
    """
    structured = study_text(report, language)
    sentences = [sentence.text for sentence in split_sentences(written, report_language(written))]
    text = _without_comparisons(normalize_text(sentence) for sentence in sentences)
    return replace(structured, text=text) if structured is not None and text else None


def is_visible(finding: Finding, sequence: str, unnamed: UnnamedPolicy = "visible") -> bool:
    """Whether a series of this sequence is told of the finding (policies as in `series_text`)."""
    column = column_of(sequence)
    if column == "unknown":
        return False
    if any(signal.sequence == column for signal in finding.signals):
        return True
    if unnamed == "visible":
        return load_visibility()[finding.finding][column] == "yes"
    if unnamed in ("copy-all", "drop"):
        return unnamed == "copy-all"
    raise ValueError(f"expected unnamed to be visible, copy-all or drop, got {unnamed!r}")


def _check_sequence(sequence: str) -> None:
    known = (*next(iter(load_visibility().values())), *READ_AS)
    if sequence not in known:
        raise ValueError(f"expected a sequence among {', '.join(known)}, got {sequence!r}")


def _visible(report: StructuredReport, sequence: str, unnamed: UnnamedPolicy) -> list[Finding]:
    return [f for f in report.findings if is_abnormal(f) and is_visible(f, sequence, unnamed)]


def _denied(report: StructuredReport, sequence: str | None, unnamed: UnnamedPolicy) -> tuple[Statement, ...]:
    """What the report denies and a series of this sequence would show; all of it for a study text."""
    denied = [f for f in report.findings if f.certainty == "absent"]
    if sequence is not None:
        denied = [f for f in denied if is_visible(f, sequence, unnamed)]
    return denials(denied, filter(is_abnormal, report.findings))


def _told(findings: Iterable[Finding], sequence: str | None, language: Language) -> dict[Clause, Statement]:
    """Clauses in canonical order, each once, and what they state. `sequence` None: study text, all signals."""
    terms = load_terms()
    sites, kinds = list(terms.sites), list(terms.findings)
    keyed = []
    for finding in findings:
        clause = Clause(_location(finding, language), _description(finding, sequence, language))
        side = _LATERALITIES.index(finding.laterality)
        place = (sites.index(finding.site), kinds.index(finding.finding), clause.description, side)
        keyed.append((place, clause, statement(finding, sequence)))
    return {clause: said for _, clause, said in sorted(keyed, key=lambda entry: entry[0])}


def _location(finding: Finding, language: Language) -> str:
    names = load_lexicon(language).names
    site = names["sites"][finding.site]
    if finding.laterality == "none" or finding.finding == "midline shift" or finding.site == finding.laterality:
        return site
    side = names["laterality"][finding.laterality]
    return f"{side} {site}" if language == "en" else side + site


def _description(finding: Finding, sequence: str | None, language: Language) -> str:
    names = load_lexicon(language).names
    words = [
        names["certainty"][finding.certainty] if finding.certainty in ("probable", "possible") else "",
        _count_word(finding, names["count"]),
        names["severity"][finding.severity] if finding.severity != "none" else "",
        names["acuity"][told_acuity(finding)] if told_acuity(finding) != "none" else "",
        *(names["morphology"][term] for term in shapes_of(finding)),
    ]
    term = names["findings"][finding.finding]
    own, listed = _signal_words(finding, sequence, language)
    describe = _describe_in_english if language == "en" else _describe_in_chinese
    return describe(words, own, listed, finding, term)


def _describe_in_chinese(words: list[str], own: list[str], listed: list[str], finding: Finding, term: str) -> str:
    if own and finding.finding == "signal abnormality":
        term = ""
    if finding.finding == "midline shift":
        listed = [*{"left": ["向左"], "right": ["向右"]}.get(finding.laterality, []), *listed]
    return "".join((*words, *own, term)) + (f"（{'；'.join(listed)}）" if listed else "")


def _describe_in_english(words: list[str], own: list[str], listed: list[str], finding: Finding, term: str) -> str:
    """Adjectives, term, then what is no adjective: "small hyperintense acute infarct with restricted diffusion"."""
    restricted = [w for w in own if w == "restricted diffusion"]
    adjectives = " and ".join(w for w in own if w not in restricted)
    if adjectives and finding.finding == "signal abnormality":
        term = "signal"
    text = " ".join(w for w in (*words, adjectives, term) if w)
    if restricted and finding.finding != "restricted diffusion":
        text += " with restricted diffusion"
    if listed:
        text += f" ({', '.join(listed)})"
    direction = {"left": " to the left", "right": " to the right"}.get(finding.laterality, "")
    return text + (direction if finding.finding == "midline shift" else "")


def _count_word(finding: Finding, names: Mapping[str, str]) -> str:
    return names.get(told_count(finding), "")


def _signal_words(finding: Finding, sequence: str | None, language: Language) -> tuple[list[str], list[str]]:
    """Signal words of a series text (its own), or of a study text (those without a sequence, then a list)."""
    names = load_lexicon(language).names["signals"]
    told = told_signals(finding)

    def words_of(column: str) -> list[str]:
        signals = {signal for of, signal in told if of == column}
        return [names[word] for word in _SIGNALS if word in signals]

    if sequence is not None:
        return words_of(column_of(sequence)), []
    by_words: dict[str, list[str]] = {}
    join, on = (" and ", " on ") if language == "en" else ("、", "")
    for column in next(iter(load_visibility().values())):
        words = join.join(words_of(column))
        if words:
            by_words.setdefault(words, []).append(column)
    if language == "en":
        return words_of("any"), [f"{words}{on}{' and '.join(columns)}" for words, columns in by_words.items()]
    return words_of("any"), [f"{'、'.join(columns)}{words}" for words, columns in by_words.items()]


def _prefix(sequence: str) -> str:
    return "MRI" if sequence == "unknown" else column_of(sequence)


def _item(
    told: Mapping[Clause, Statement], denied: tuple[Statement, ...], sequence: str | None, language: Language
) -> TextItem:
    clauses = tuple(told)
    if language == "en":
        body = "; ".join(f"{c.location} shows {c.description}" for c in clauses)
    else:
        body = "，".join(f"在{c.location}表现为{c.description}" for c in clauses)
    statements = (*told.values(), *denied)
    return TextItem(_with_prefix(body, sequence, language), clauses, normal=False, statements=statements)


def _normal_item(sequence: str | None, language: Language) -> TextItem:
    load_lexicon(language)  # names the languages there are in its error
    text = _with_prefix(NORMAL_SENTENCE[language], sequence, language)
    return TextItem(text, clauses=(), normal=True, statements=(normal_statement(sequence),))


def _with_prefix(body: str, sequence: str | None, language: Language) -> str:
    if language == "en":
        return f"{_prefix(sequence)}: {body}." if sequence else f"{body[0].upper()}{body[1:]}."
    return f"{_prefix(sequence)}，{body}。" if sequence else f"{body}。"


def _without_comparisons(sentences: Iterable[str]) -> str:
    kept = [sentence.strip() for sentence in sentences if sentence.strip() and not compares(sentence)]
    return (" " if report_language("".join(kept)) == "en" else "").join(_ended(sentence) for sentence in kept)


def _ended(sentence: str) -> str:
    if sentence[-1:] in ".?!。？！；;":
        return sentence
    return sentence + ("." if report_language(sentence) == "en" else "。")
