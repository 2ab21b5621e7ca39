"""Rendered texts say what the findings say, in a canonical order, and never what the image cannot show."""

import itertools
import random

import pytest

from selip.processing.findings import Finding, StructuredReport
from selip.processing.laterality import swap_laterality
from selip.processing.rendering import (
    NORMAL_SENTENCE,
    Clause,
    TextItem,
    finding_texts,
    impression_text,
    is_visible,
    series_text,
    study_text,
    written_text,
)
from selip.processing.statements import Statement
from selip.processing.vocabulary import load_lexicon, load_terms, load_visibility

SEQUENCES = ("T1w", "T1c", "T2w", "FLAIR", "DWI", "ADC", "SWI", "MRA", "PD")
INFARCT = Finding.model_validate(
    {
        "finding": "acute infarct",
        "site": "thalamus",
        "laterality": "left",
        "signals": [{"sequence": "DWI", "signal": "hyper"}, {"sequence": "ADC", "signal": "hypo"}],
        "morphology": ["patchy"],
        "size_mm": 8,
        "acuity": "acute",
    }
)
LESION = Finding(finding="signal abnormality", site="frontal lobe", laterality="right")


def report(*findings: Finding, normal: bool = False, impression: tuple[str, ...] = ()) -> StructuredReport:
    return StructuredReport(normal=normal, findings=list(findings), impression=list(impression))


def random_finding(rng: random.Random) -> Finding:
    terms = load_terms()
    return Finding.model_validate(
        {
            "finding": rng.choice(list(terms.findings)),
            "site": rng.choice(list(terms.sites)),
            "laterality": rng.choice(["left", "right", "bilateral", "midline", "none"]),
            "signals": [
                {
                    "sequence": rng.choice([*SEQUENCES, "any"]),
                    "signal": rng.choice(["hyper", "hypo", "iso", "restricted"]),
                }
                for _ in range(rng.randint(0, 3))
            ],
            "morphology": rng.sample(terms.morphology, rng.randint(0, 2)),
            "size_mm": rng.choice([None, 3.0, 15.0, 42.0]),
            "severity": rng.choice(["none", "mild", "severe"]),
            "change": rng.choice(["none", "new", "larger", "unchanged", "resolved"]),
            "certainty": rng.choice(["present", "present", "probable", "possible", "absent"]),
        }
    )


def told(item: TextItem | None) -> object:
    """What a text item tells, without what its report denies."""
    return item and (item.text, item.clauses, [said for said in item.statements if not said.is_denied])


def test_english_and_chinese_grammar() -> None:
    """Invariant: the clause grammar of both languages, written out by hand."""
    both = report(INFARCT, LESION)
    assert series_text(both, "DWI", "en") == TextItem(
        "DWI: left thalamus shows small patchy hyperintense acute infarct.",
        (Clause("left thalamus", "small patchy hyperintense acute infarct"),),
        False,
        (
            Statement(
                "acute infarct",
                "thalamus",
                "left",
                sequence="DWI",
                signals=frozenset({("DWI", "hyper")}),
                details=frozenset({"small", "patchy"}),
            ),
        ),
    )
    assert series_text(both, "ADC", "zh").text == "ADC，在左侧丘脑表现为小斑片状低信号急性脑梗死。"
    bright = LESION.model_copy(update={"signals": [*INFARCT.signals[:1]]})
    assert series_text(report(bright), "DWI", "zh").text == "DWI，在右侧额叶表现为高信号。"
    assert series_text(report(bright), "DWI", "en").text == "DWI: right frontal lobe shows hyperintense signal."
    assert study_text(both, "en").text == (
        "Right frontal lobe shows signal abnormality; left thalamus shows small patchy acute infarct "
        "(hyperintense on DWI, hypointense on ADC)."
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_order_of_findings_does_not_change_texts(language: str) -> None:
    """Invariant: any order of the same findings gives the same series, finding and study texts and statements."""
    rng = random.Random(0)
    for _ in range(20):
        findings = [random_finding(rng) for _ in range(4)]
        texts = set()
        for order in itertools.permutations(findings):
            shuffled = report(*order)
            items = [series_text(shuffled, s, language) for s in SEQUENCES] + [study_text(shuffled, language)]
            items += finding_texts(shuffled, "T2w", language)
            texts.add(tuple(items))
        assert len(texts) == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_denied_resolved_and_change_words_are_never_told(language: str) -> None:
    """Invariant: taking away denied and resolved findings, and all words of change, leaves every text as it was."""
    rng = random.Random(1)
    for _ in range(100):
        findings = [random_finding(rng) for _ in range(4)]
        kept = [f for f in findings if f.certainty != "absent" and f.change != "resolved"]
        plain = report(*(f.model_copy(update={"change": "none"}) for f in kept))
        for sequence in SEQUENCES:
            assert told(series_text(report(*findings), sequence, language)) == told(
                series_text(plain, sequence, language)
            )
        assert told(study_text(report(*findings), language)) == told(study_text(plain, language))


def test_policies_for_findings_without_a_sequence() -> None:
    """Invariant: visibility follows the table's yes, copy-all tells all, drop none; a named sequence always."""
    table = load_visibility()
    for term, sequence in itertools.product(table, SEQUENCES):
        unnamed = Finding(finding=term, site="brain")
        assert is_visible(unnamed, sequence) == (table[term][sequence] == "yes")
        assert is_visible(unnamed, sequence, "copy-all")
        assert not is_visible(unnamed, sequence, "drop")
        named = Finding.model_validate({"finding": term, "site": "brain", "signals": [{"sequence": sequence}]})
        assert is_visible(named, sequence, "drop")
    assert series_text(report(LESION), "ADC", "en") is None
    with pytest.raises(ValueError, match="copy-all"):
        is_visible(LESION, "ADC", "all")


def test_signal_without_a_sequence_names_no_series() -> None:
    """Invariant: "hyperintense" without a sequence is told in the study text and in no series text."""
    bright = Finding.model_validate(
        {"finding": "white matter lesion", "site": "pons", "signals": [{"sequence": "any", "signal": "hyper"}]}
    )
    assert "hyperintense" in study_text(report(bright), "en").text
    assert series_text(report(bright), "FLAIR", "en").text == "FLAIR: pons shows white matter lesion."
    assert series_text(report(bright), "ADC", "en") is None


def test_normal_study_has_one_sentence_in_every_series() -> None:
    """Invariant: a normal study is told by the fixed sentence, with the name of the sequence, also the unknown one."""
    normal = report(normal=True)
    for language, sequence in itertools.product(("en", "zh"), (*SEQUENCES, "unknown", "T1w-contrast-unknown")):
        item = series_text(normal, sequence, language)
        assert item.normal
        assert item.clauses == ()
        assert NORMAL_SENTENCE[language] in item.text
        assert finding_texts(normal, sequence, language) == [item]
    assert series_text(normal, "T1w-contrast-unknown", "en").text.startswith("T1w: ")
    assert study_text(report(), "en") is None


def test_unknown_sequence_is_an_error() -> None:
    """Invariant: a sequence or language that does not exist is refused with the allowed ones."""
    with pytest.raises(ValueError, match="FLAIR"):
        series_text(report(normal=True), "T1", "en")
    with pytest.raises(ValueError, match="zh"):
        series_text(report(normal=True), "T1w", "fr")


COMPARING = {
    "en": (
        *("Unchanged.", "No change", "No change in the left frontal mass.", "Stable mass", "New mass"),
        *("Mass larger than on the prior study.", "Mass is again seen", "Redemonstrated mass", "Mass, known"),
    ),
    "zh": ("病灶较前增大", "与前片比较病灶缩小", "较2023年片增大", "对比旧片病灶同前", "新发病灶", "病灶较前相仿。"),
}


def test_impression_leaves_out_comparisons() -> None:
    """Invariant: sentences that compare with an earlier study are not in the impression text."""
    item = impression_text(report(INFARCT, impression=("Stable meningioma", "Acute infarct")), "en")
    assert item.text == "Acute infarct."
    assert item.clauses == study_text(report(INFARCT), "en").clauses
    for comparison in COMPARING["en"]:
        assert impression_text(report(INFARCT, impression=(comparison,)), "en") is None, comparison
    for comparison in COMPARING["zh"]:
        mixed = impression_text(report(LESION, impression=(comparison, "右侧额叶病灶")), "zh")
        assert mixed.text == "右侧额叶病灶。", comparison
    told = ("Normal brain", "T1 对比增强扫描未见强化", "注射对比剂后明显强化", "颅内未见异常")
    for sentence in told:
        assert impression_text(report(LESION, impression=(sentence,)), "en").text.startswith(sentence)


def test_written_sections_leave_out_comparisons_in_the_language_of_the_report() -> None:
    """Invariant: of a section as written the other sentences stay, whichever language the clauses are in."""
    for language, said in (("en", "Mass in the left frontal lobe. No bleed."), ("zh", "左侧额叶见占位。未见出血。")):
        blank = " " if language == "en" else ""
        for comparison in COMPARING[language]:
            end = "" if comparison[-1] in ".。" else "." if language == "en" else "。"
            for clauses in ("en", "zh"):
                item = written_text(report(LESION), f"{said}{blank}{comparison}{end}\n{said}", clauses)
                assert item.text == f"{said}{blank}{said}", comparison
                assert item.clauses == study_text(report(LESION), clauses).clauses
    assert written_text(report(LESION), "Unchanged.", "en") is None
    assert written_text(report(), "A mass.", "en") is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_swapping_report_and_text_agree(language: str) -> None:
    """Invariant: the text of the mirrored report says the same clauses as the mirrored text."""
    rng = random.Random(3)
    for _ in range(200):
        original = report(*(random_finding(rng) for _ in range(3)), impression=("Left mass", "左侧病灶"))
        mirrored = swap_laterality(original)
        assert swap_laterality(mirrored) == original
        a, b = study_text(mirrored, language), study_text(original, language)
        assert (a is None) == (b is None)
        if a is not None:
            assert set(a.clauses) == set(swap_laterality(b).clauses)


def test_every_term_is_rendered_in_its_language() -> None:
    """Invariant: no canonical term reaches a Chinese text in Latin letters, other than a name (Willis)."""
    names = load_lexicon("zh").names
    for group in ("sites", "findings", "morphology"):
        for name in names[group].values():
            assert not any(c.isascii() and c.isalpha() for c in name.replace("Willis", "")), name
