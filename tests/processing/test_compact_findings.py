"""The compact form: what a model writes, and the report that is read from it."""

import json

import pytest

from selip.processing.compact_findings import (
    NOT_JSON,
    NOT_THE_SCHEMA,
    NOT_THIS_REPORT,
    compact,
    compact_schema,
    read_compact,
)
from selip.processing.findings import Finding, Signal, StructuredReport
from selip.processing.quotes import find_quote
from selip.processing.structurer import ReportText

REPORT = ReportText(
    "There is a 12 mm haemorrhage in the left thalamus, dark on SWI. The ventricles are normal.",
    "1. Thalamic haemorrhage.\n2. No mass.",
    "en",
)
FINDINGS = [
    Finding(
        finding="hemorrhage",
        site="thalamus",
        laterality="left",
        signals=[Signal(sequence="SWI", signal="hypo"), Signal(sequence="T2w")],
        morphology=["oval"],
        count=2,
        size_mm=12.0,
        severity="mild",
        acuity="acute",
        change="larger",
        certainty="probable",
    ),
    Finding(finding="normal", site="ventricles"),
    Finding(finding="mass", site="brain", certainty="absent", size_mm=3.5),
]


def without_quotes(report: StructuredReport) -> list[Finding]:
    return [finding.model_copy(update={"quote": ""}) for finding in report.findings]


def test_reading_undoes_writing() -> None:
    """Every field but the quote survives, whole sizes are written as whole numbers, defaults are not written."""
    text = compact(FINDINGS)
    read = read_compact(text, REPORT)
    assert isinstance(read, StructuredReport)
    assert without_quotes(read) == FINDINGS
    assert '"size_mm":12,' in text
    assert json.loads(text)["findings"][1] == {"finding": "normal", "site": "ventricles"}
    assert ": " not in text


def test_what_is_not_written_comes_from_the_report() -> None:
    """Quotes are words of the report, the impression is its sentences, normal follows from the findings."""
    read = read_compact(compact(FINDINGS), REPORT)
    assert isinstance(read, StructuredReport)
    assert [finding.quote for finding in read.findings] == [
        "There is a 12 mm haemorrhage in the left thalamus, dark on SWI.",  # British spelling in the text
        "The ventricles are normal.",
        "No mass.",
    ]
    assert read.impression == ["Thalamic haemorrhage.", "No mass."]
    assert not read.normal
    normal = read_compact(compact(FINDINGS[1:]), REPORT)
    assert isinstance(normal, StructuredReport)
    assert normal.normal


def test_a_repeated_finding_is_kept_once() -> None:
    """A model that says the same twice is not punished twice."""
    read = read_compact(compact([FINDINGS[1], FINDINGS[1]]), REPORT)
    assert isinstance(read, StructuredReport)
    assert len(read.findings) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", NOT_JSON),
        ('{"findings":[{"finding":"normal"', NOT_JSON),
        ("[" * 100_000, NOT_JSON),
        ("[]", NOT_THE_SCHEMA),
        ('{"normal":true}', NOT_THE_SCHEMA),
        ('{"findings":[{"finding":"secret name","site":"brain"}]}', NOT_THE_SCHEMA),
        ('{"findings":[{"finding":"normal","site":"brain","size_mm":5000}]}', NOT_THE_SCHEMA),
        (compact(FINDINGS[1:2] * 97), NOT_THE_SCHEMA),
        (compact([Finding(finding="cyst", site="pineal region"), FINDINGS[1]]), NOT_THIS_REPORT),
        (
            compact([FINDINGS[0], *(Finding(finding=name, site="insula") for name in ("cyst", "edema"))]),
            NOT_THIS_REPORT,
        ),
    ],
)
def test_what_is_no_answer_is_refused_in_no_words_of_it(text: str, reason: str) -> None:
    """Reading never raises; the reason is one of three, so nothing of a report can leak into a log."""
    assert read_compact(text, REPORT) == reason


def test_the_whole_schema_is_read_as_well() -> None:
    """A model that writes the full form is understood; what it says of normal and impression is not taken over."""
    full = StructuredReport(normal=False, findings=FINDINGS, impression=["invented"]).model_dump_json()
    read = read_compact(full, REPORT)
    assert isinstance(read, StructuredReport)
    assert without_quotes(read) == FINDINGS
    assert read.impression == ["Thalamic haemorrhage.", "No mass."]


def test_schema_has_the_keys_of_the_compact_form_in_their_order() -> None:
    """The keys that are written are those that the schema allows, in one order: a grammar follows it."""
    schema = compact_schema()
    properties = schema["$defs"]["Finding"]["properties"]
    written = json.loads(compact(FINDINGS))["findings"][0]
    assert list(properties) == list(written)
    assert "quote" in Finding.model_fields
    assert list(schema["properties"]) == ["findings"]
    assert not schema["$defs"]["Finding"]["additionalProperties"]


def test_quote_is_verbatim_and_empty_where_nothing_fits() -> None:
    """A sentence is taken that names term, site and side, whole; none where the report does not speak of it."""
    sentences = ["左侧丘脑见腔隙灶。", "右侧丘脑信号正常。"]
    lacune = Finding(finding="lacune", site="thalamus", laterality="left")
    assert find_quote(lacune, sentences, "zh") == sentences[0]
    assert (
        find_quote(lacune.model_copy(update={"finding": "normal", "laterality": "right"}), sentences, "zh")
        == (sentences[1])
    )
    assert find_quote(Finding(finding="abscess", site="pons"), sentences, "zh") == ""
    assert find_quote(lacune, ["Linke Thalamuslakune."], "de") == ""


def test_a_third_of_the_findings_may_be_in_other_words() -> None:
    """A model may know a word that the lexicon lacks; a report in a language without a lexicon is taken as it is."""
    one_unknown = [*FINDINGS, Finding(finding="cyst", site="insula")]
    assert isinstance(read_compact(compact(one_unknown), REPORT), StructuredReport)
    french = ReportText("Hématome du thalamus.", "", "fr")
    assert isinstance(read_compact(compact([Finding(finding="cyst", site="insula")]), french), StructuredReport)
