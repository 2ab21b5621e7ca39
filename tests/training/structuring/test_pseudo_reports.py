"""Pseudo reports: the findings are those that the text states."""

import itertools
import re
from dataclasses import replace

import pytest

from selip.processing.findings import Finding, Signal
from selip.processing.sources.simulated import reports as simple_writer
from selip.processing.sources.simulated.realistic import (
    chinese_held_out,
    chinese_train,
    english_held_out,
    english_train,
)
from selip.processing.sources.simulated.realistic.facts import ReportFacts, Told
from selip.training.structuring import stock_statements
from selip.training.structuring.pseudo_reports import iter_pseudo_reports, stated_findings

SOURCES = [("training", "en"), ("training", "zh"), ("held-out", "en"), ("held-out", "zh"), ("simple", "en")]
STROKE = Finding(
    finding="acute infarct",
    site="thalamus",
    laterality="left",
    signals=[
        Signal(sequence="T2w", signal="hyper"),
        Signal(sequence="DWI", signal="hyper"),
        Signal(sequence="ADC", signal="hypo"),
    ],
    morphology=["oval"],
    size_mm=14.0,
    acuity="acute",
)


def facts(*told: Told, denied: tuple[str, ...] = (), normal: tuple[str, ...] = (), resolved: str = "") -> ReportFacts:
    return ReportFacts(
        age=60,
        sex="F",
        sequences=("T2w", "DWI", "ADC"),
        told=told,
        denied=denied,
        normal=normal,
        artefacts=("motion",),
        has_prior=bool(resolved),
        resolved=resolved,
        seed=1,
    )


def told(finding: Finding, **changes: bool | int) -> Told:
    values = {"names_signals": True, "gives_size": True, "is_incidental": False, "item": 0, "seed": 3, **changes}
    return Told(finding=finding, **values)


def keys(findings: list[Finding]) -> list[tuple[str, str, str, str]]:
    return [(f.finding, f.site, f.laterality, f.certainty) for f in findings]


@pytest.mark.parametrize(("writer", "language"), SOURCES)
def test_every_sentence_is_known_and_every_quote_is_verbatim(writer: str, language: str) -> None:
    """No text has a part that nobody accounts for (that raises); sizes that are stated can be read in the quote."""
    made = list(iter_pseudo_reports(60, seed=11, language=language, writer=writer))
    assert len({report.id for report in made}) == 60
    for report in made:
        text = report.text.findings + "\n" + report.text.impression
        assert report.text.language == language
        for finding in report.target.findings:
            assert finding.quote
            assert finding.quote in text
            if finding.size_mm is not None:
                assert f"{finding.size_mm:.0f}" in finding.quote or f"{finding.size_mm / 10:.1f}" in finding.quote
        present = [f for f in report.target.findings if f.certainty != "absent" and f.change != "resolved"]
        assert len(set(keys(present))) == len(present)


def test_reports_depend_on_the_seed_and_a_longer_file_begins_with_a_shorter_one() -> None:
    """The n-th report is the same however many are made; another seed gives others."""
    few = list(iter_pseudo_reports(5, seed=2, language="mixed"))
    assert list(iter_pseudo_reports(9, seed=2, language="mixed"))[:5] == few
    other = list(iter_pseudo_reports(5, seed=3, language="mixed"))
    assert all(one.text != two.text for one, two in zip(few, other, strict=True))
    assert {report.text.language for report in iter_pseudo_reports(20, seed=2, language="mixed")} == {"en", "zh"}


def test_simple_writer_knows_no_chinese() -> None:
    """A language that a writer does not have is refused."""
    with pytest.raises(ValueError, match="expected language en"):
        next(iter_pseudo_reports(1, seed=0, language="zh", writer="simple"))


@pytest.mark.parametrize(
    ("writer", "language"),
    [(english_train, "en"), (chinese_train, "zh"), (english_held_out, "en"), (chinese_held_out, "zh")],
)
def test_a_present_lesion_is_one_entry_with_what_the_text_says_of_it(writer: object, language: str) -> None:
    """For all wordings: one entry, the size if and only if it is told, no signal that is not in the words."""
    words = {
        "en": {"T2w": "T2", "DWI": r"DWI|[Dd]iffusion", "ADC": "ADC"},
        "zh": {"T2w": "T2", "DWI": "DWI", "ADC": "ADC"},
    }[language]
    for seed, names, sized in itertools.product(range(8), (True, False), (True, False)):
        stated = facts(told(STROKE, seed=seed, names_signals=names, gives_size=sized))
        report = writer.write(stated)
        (finding,) = stated_findings(stated, report, writer, language)
        assert keys([finding]) == keys([STROKE])
        assert finding.size_mm == (14.0 if sized else None)
        named = {name for name, pattern in words.items() if re.search(pattern, report.findings)}
        assert {signal.sequence for signal in finding.signals} == named
        assert bool(finding.morphology) == bool(
            re.search("[Oo]val|椭圆形", " ".join((report.findings, *report.impression)))
        )


def test_a_hedged_diagnosis_after_a_description_is_two_entries() -> None:
    """Written by hand from the guide: the description is present, or possible where it is itself in question."""
    doubtful = STROKE.model_copy(update={"certainty": "probable"})
    stated = facts(told(doubtful))
    report = english_train.write(stated)
    assert re.search(r"lesion|[Ss]ignal abnormality", report.findings)
    assert keys(stated_findings(stated, report, english_train, "en")) == [
        ("signal abnormality", "thalamus", "left", "present"),
        ("acute infarct", "thalamus", "left", "probable"),
    ]
    possible = facts(told(STROKE.model_copy(update={"certainty": "possible"})))
    chinese = chinese_train.write(possible)
    assert keys(stated_findings(possible, chinese, chinese_train, "zh")) == [
        ("signal abnormality", "thalamus", "left", "possible"),
        ("acute infarct", "thalamus", "left", "possible"),
    ]
    # "suspected acute infarction" describes nothing beside the diagnosis
    terse = english_held_out.write(stated)
    assert keys(stated_findings(stated, terse, english_held_out, "en")) == [
        ("acute infarct", "thalamus", "left", "probable")
    ]


def test_denials_normal_regions_and_what_is_gone() -> None:
    """Written by hand: what is denied is absent, what is called normal is normal, what is gone is resolved."""
    stated = facts(told(STROKE), denied=("hydrocephalus",), normal=("mastoids",), resolved="edema")
    for writer, language in ((english_train, "en"), (chinese_held_out, "zh")):
        found = stated_findings(stated, writer.write(stated), writer, language)
        assert keys(found) == [
            ("acute infarct", "thalamus", "left", "present"),
            ("edema", "brain", "none", "present"),
            ("normal", "mastoid", "none", "present"),
            ("hydrocephalus", "ventricles", "none", "absent"),
        ] or set(keys(found)[2:]) == {
            ("normal", "mastoid", "none", "present"),
            ("hydrocephalus", "ventricles", "none", "absent"),
        }
        assert found[1].change == "resolved"


def test_an_unknown_sentence_is_an_error() -> None:
    """A writer that says something new is noticed, not silently mislabelled."""
    stated = facts(told(STROKE))
    report = english_train.write(stated)
    changed = type(report)(report.findings + " Something new is said.", report.impression)
    with pytest.raises(ValueError, match="expected every sentence"):
        stated_findings(stated, changed, english_train, "en")


def test_sentences_annotated_one_by_one_are_sentences_of_the_writers() -> None:
    """None of them is left over from a wording that was changed."""
    writers = (english_train, english_held_out, chinese_train, chinese_held_out)
    known = {sentence for writer in writers for sentence in stock_statements.stock_statements(writer)}
    known |= {
        sentence
        for group in (*simple_writer.NEGATIVES, *simple_writer.NORMAL_FINDINGS, simple_writer.NORMAL_CONCLUSIONS)
        for sentence in group
    }
    known |= {sentence for _, _, group in simple_writer.CONDITIONAL_NEGATIVES for sentence in group}
    assert set(stock_statements._SPECIAL) <= known


def test_what_is_hedged_in_the_facts_and_not_in_the_words_is_present() -> None:
    """Some sentences carry no doubt whatever the writer is given; where the sections disagree, both count."""
    wide = Finding(finding="ventricular dilation", site="ventricles", severity="severe", certainty="possible")
    stated = facts(told(wide, gives_size=False))
    plain = english_train.write(stated)
    assert [f.certainty for f in stated_findings(stated, plain, english_train, "en")] == ["present"]
    terse = english_held_out.write(stated)  # doubts in the findings, not in the conclusion
    assert [f.certainty for f in stated_findings(stated, terse, english_held_out, "en")] == ["possible", "present"]


def test_two_denials_of_one_key_are_two_entries() -> None:
    """No abnormal signal, and none on T2 and FLAIR: two things are denied, as the guide counts them."""
    stated = replace(facts(), sequences=("T2w", "FLAIR"))
    reports = [chinese_train.write(replace(stated, seed=seed)) for seed in range(10)]
    report = next(report for report in reports if "未见异常信号影" in report.findings)
    denied = [f for f in stated_findings(stated, report, chinese_train, "zh") if f.certainty == "absent"]
    sentences = [finding.quote for finding in denied]
    assert len(set(sentences)) == len(sentences) == 2
    assert [signal.sequence for signal in denied[1].signals] == ["T2w", "FLAIR"]
