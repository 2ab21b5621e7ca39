"""Reports of the realistic form: two writers a language that share no wording; what is told, hedged and denied."""

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from selip.processing.findings import is_present
from selip.processing.rules.structurer import structure_report
from selip.processing.sources.simulated.realistic.facts import (
    DENIALS,
    NORMAL_REGIONS,
    ReportFacts,
    TrueFinding,
    decide_facts,
)
from selip.processing.sources.simulated.realistic.kinds import EDEMA
from selip.processing.sources.simulated.realistic.plan import kind_of
from selip.processing.sources.simulated.realistic.study import WRITERS, Visit, draw_visit, finding_of
from selip.processing.sources.simulated.reports import Report
from selip.processing.vocabulary import load_lexicon, load_terms

STUDIES = 400
Case = tuple[Visit, list[TrueFinding], ReportFacts, Report]


def truth_of(visit: Visit) -> list[TrueFinding]:
    """The truth of a visit with the sizes that were planned, so that no head has to be made."""
    truth = []
    for item, planned in enumerate(visit.plan.findings):
        kind = kind_of(planned)
        finding = finding_of(planned, None, visit.sequences)
        update: dict[str, object] = {"size_mm": float(round(planned.diameter_mm)) or None}
        if planned.shape in ("patchy", "punctate") and kind.place != "mucosa":
            update["count"] = "multiple"
        truth.append(TrueFinding(finding.model_copy(update=update), kind.key, kind.is_incidental, 2 * item))
        if kind.halo_mm:
            edema = finding_of(replace(planned, kind=EDEMA, severity="none"), None, visit.sequences)
            truth.append(TrueFinding(edema, EDEMA.key, False, 2 * item + 1, 2 * item))
    return truth


@cache
def cases(language: str, is_held_out: bool) -> tuple[Case, ...]:
    """Reports of one writer, of patients of all splits."""
    made = []
    for number in range(1, STUDIES + 1):
        visit = draw_visit(9, number, 1, language)
        truth = truth_of(visit)
        patient = visit.patient
        artefacts = ("flow", "motion")[: number % 3]
        facts, _ = decide_facts(truth, visit.sequences, artefacts, patient.age, patient.sex, 9, number, 1)
        made.append((visit, truth, facts, WRITERS[language, is_held_out](facts)))
    return tuple(made)


def sentences(report: Report, language: str) -> list[str]:
    """Sentences of findings and impression."""
    ends = r"(?<=[.?!])\s+|\n" if language == "en" else "(?<=。)|\n"
    text = "\n".join([report.findings, *report.impression])
    return [part.strip() for part in re.split(ends, text) if part and part.strip()]


@cache
def canonical_words(language: str) -> re.Pattern[str]:
    """All canonical terms of a language and the ways in which its lexicon says them, longest first."""
    lexicon = load_lexicon(language)
    groups = ("sites", "findings", "morphology", "signals", "sequences", "laterality", "severity", "acuity", "count")
    words: set[str] = {"T1WI", "T2WI", "FLAIR", "DWI", "ADC", "SWI"}
    for group in groups:
        for term, name in lexicon.names.get(group, {}).items():
            words |= {name, *lexicon.words[group][term]} | ({term} if language == "en" else set())
    if language == "en":
        for american, british in lexicon.extra["spelling"]:
            words |= {word.replace(american, british) for word in words}
        words |= {word + "s" for word in words}
        return re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + r")\b", re.I)
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))


def masked(sentence: str, language: str) -> str:
    """A sentence with canonical terms and numbers replaced: what is left is the writer's own wording."""
    text = canonical_words(language).sub("#", sentence)
    return re.sub(r"\d+(?:\.\d+)?\s?(?:mm|cm)?", "#", text)


def runs_of(n: int, sentence: str, language: str) -> set[tuple[str, ...]]:
    """Runs of n words (Chinese: characters) of a writer's own wording."""
    runs = masked(sentence, language).split("#")
    grams: set[tuple[str, ...]] = set()
    for run in runs:
        tokens = re.findall(r"[\w'-]+" if language == "en" else r"[\u4e00-\u9fff]", run.lower())
        grams |= {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}
    return grams


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_two_writers_share_no_sentence_and_no_wording(language: str) -> None:
    """Over 800 reports no template (sentence without terms and numbers) and no run of four words is in both.

    The second English writer is so terse that runs of four of its own words are rare; runs of three are compared too.
    """
    templates: list[set[str]] = []
    grams: list[set[tuple[str, ...]]] = []
    for is_held_out in (False, True):
        spoken = {one for *_, report in cases(language, is_held_out) for one in sentences(report, language)}
        templates.append({masked(one, language).lower() for one in spoken})
        grams.append({gram for one in spoken for n in (3, 4) for gram in runs_of(n, one, language)})
    shared = {template for template in templates[0] & templates[1] if re.search(r"\w", template)}
    assert min(map(len, templates)) > 100
    assert not shared  # what has terms and punctuation only is no one's wording
    assert max(map(len, grams)) > 60
    assert min(map(len, grams)) > 10
    assert not grams[0] & grams[1]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("is_held_out", [False, True])
def test_the_rule_structurer_reads_what_was_told(is_held_out: bool, language: str) -> None:
    """Finding, site and side of what the reports tell, over 400 of them: most are read, little is invented."""
    right = wrong = missed = 0
    for _, _, facts, report in cases(language, is_held_out):
        read = structure_report(report.findings, "\n".join(report.impression), language)
        kinds = load_terms().findings
        got = {
            (one.finding, one.site, one.laterality)
            for one in read.findings
            if is_present(one) and kinds[one.finding].kind != "status"
        }
        told = {(one.finding.finding, one.finding.site, one.finding.laterality) for one in facts.told}
        right, wrong, missed = right + len(got & told), wrong + len(got - told), missed + len(told - got)
    assert right / (right + missed) > 0.85
    assert right / (right + wrong) > 0.80


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("is_held_out", [False, True])
def test_about_one_sentence_in_six_names_a_sequence(language: str, is_held_out: bool) -> None:
    """Sentences of the findings section; the rate of real reports is 1 in 6 (architecture, section 5)."""
    named = r"T1|T2|FLAIR|DWI|ADC|SWI|iffusion-weighted|usceptibility-weighted"
    spoken = [
        one
        for *_, report in cases(language, is_held_out)
        for one in sentences(replace(report, impression=()), language)
    ]
    assert sum(bool(re.search(named, one)) for one in spoken) / len(spoken) == pytest.approx(1 / 6, abs=0.05)


def test_what_is_denied_or_called_normal_is_not_there() -> None:
    """No denial of something true (told or not), and none that takes a sequence the study lacks."""
    counted: Counter[str] = Counter()
    for visit, truth, facts, _ in cases("en", False):
        present = {true.finding.finding for true in truth}
        for term in facts.denied:
            assert term not in present
            assert not present & set(DENIALS[term][0])
            assert DENIALS[term][1] in ("", *visit.sequences)
        for region in facts.normal:
            assert not present & set(NORMAL_REGIONS[region])
        counted.update(facts.denied)
    assert set(counted) == set(DENIALS)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_only_acquired_sequences_are_named(language: str) -> None:
    """FLAIR, DWI, ADC, SWI and T1 occur in the text of either writer only where the study has them."""
    words = {"FLAIR": "FLAIR", "DWI": "DWI|iffusion", "ADC": "ADC", "SWI": "SWI|usceptibility"}
    for is_held_out in (False, True):
        for visit, _, _, report in cases(language, is_held_out):
            for sequence, pattern in words.items():
                if sequence not in visit.sequences:
                    assert not re.search(pattern, report.text), (sequence, report.text)
            if not {"T1w", "T1c"} & set(visit.sequences):
                assert "T1" not in report.text


def test_reports_differ_from_the_truth_as_often_as_stated() -> None:
    """Wrong side or size in about 5 % of the told findings, small ones left out, doubt where the key is missing."""
    wrong = told = doubted = without_key = faint = left_out = 0
    for number in range(1, 1501):
        visit = draw_visit(4, number, 1, "en")
        truth = truth_of(visit)
        facts, deviations = decide_facts(truth, visit.sequences, (), 60, "F", 4, number, 1)
        told += len(facts.told)
        wrong += len({error.finding for error in deviations.wrong if truth[error.finding].host is None})
        for index, true in enumerate(truth):
            if true.finding.size_mm is not None and true.finding.size_mm < 8.0 and not true.is_incidental:
                faint += 1
                left_out += index in deviations.left_out
            if true.key and not set(true.key) & set(visit.sequences) and index not in deviations.left_out:
                without_key += 1
                doubted += index in deviations.hedged
    assert wrong / told == pytest.approx(0.045, abs=0.015)
    assert left_out / faint == pytest.approx(0.3, abs=0.08)
    assert doubted / without_key > 0.5


def test_wrong_reports_are_recorded_and_the_truth_stays() -> None:
    """A told side or size that is not the true one is in the record; without a record they agree."""
    differing = 0
    for number in range(1, 801):
        visit = draw_visit(6, number, 1, "en")
        truth = truth_of(visit)
        facts, deviations = decide_facts(truth, visit.sequences, (), 60, "F", 6, number, 1)
        told = iter(facts.told)
        for index, true in enumerate(truth):
            if index in deviations.left_out:
                continue
            one = next(told).finding
            errors = {error.field: error.told for error in deviations.wrong if error.finding == index}
            assert one.laterality == errors.get("laterality", true.finding.laterality)
            assert one.size_mm == errors.get("size_mm", true.finding.size_mm)
            assert (one.certainty != "present") == (index in deviations.hedged)
            differing += bool(errors)
    assert differing > 20


def test_every_kind_has_words_with_every_writer() -> None:
    """400 patients and four writers name all terms; the noun tables of a language's writers have the same keys."""
    seen = {one.finding.finding for _, _, facts, _ in cases("en", False) for one in facts.told}
    assert len(seen) >= 18
    for write in WRITERS.values():
        module = __import__(write.__module__, fromlist=["NOUNS"])
        assert seen <= set(module.NOUNS)
        assert set(module.DENIALS) == set(DENIALS)
        assert set(module.REGIONS) == set(NORMAL_REGIONS)
