"""The schema refuses what no report can mean, and its exported JSON Schema refuses the same."""

import json

import pytest
from pydantic import ValidationError

from selip.processing.findings import (
    MAX_FINDINGS,
    Finding,
    Signal,
    StructuredReport,
    is_abnormal,
    is_normal,
    is_present,
    json_schema,
)
from selip.processing.vocabulary import LANGUAGES, load_lexicon, load_terms, load_visibility


def finding(term: str = "acute infarct", site: str = "thalamus", **fields: object) -> Finding:
    return Finding.model_validate({"finding": term, "site": site, **fields})


def test_report_survives_json() -> None:
    """Invariant: writing and reading a report as JSON changes nothing, also Chinese quotes and both forms of count."""
    report = StructuredReport(
        normal=False,
        findings=[
            finding(count=3, size_mm=4.5, signals=[{"sequence": "DWI", "signal": "hyper"}], quote="左侧丘脑 <&>"),
            finding("cyst", "pons", count="few", certainty="possible", morphology=["round"]),
        ],
        impression=["a", "b"],
    )
    assert StructuredReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"term": "haemorrage"}, "did you mean 'hemorrhage'"),
        ({"site": "frontal"}, "'frontal lobe'"),
        ({"laterality": "both"}, "laterality"),
        ({"size_mm": -1}, "size_mm"),
        ({"size_mm": float("nan")}, "size_mm"),
        ({"count": 0}, "count"),
        ({"morphology": ["roundish"]}, "'round'"),
        ({"colour": "red"}, "colour"),
        ({"signals": [{"sequence": "T1", "signal": "hyper"}]}, "sequence"),
    ],
)
def test_wrong_values_are_named(fields: dict, message: str) -> None:
    """Invariant: a value outside the schema is an error that names the field, or the term that was probably meant."""
    with pytest.raises(ValidationError, match=message):
        finding(**fields)


def test_errors_do_not_repeat_the_report() -> None:
    """Invariant: the words of a report never reach an error message."""
    with pytest.raises(ValidationError) as error:
        finding(quote="Jane Doe " * 200)
    assert "Jane" not in str(error.value)


def test_normal_report_holds_no_present_abnormality() -> None:
    """Invariant: a report marked normal may deny findings and mention resolved ones, but not have one."""
    StructuredReport(normal=True, findings=[finding(certainty="absent"), finding("normal variant")])
    StructuredReport(normal=True, findings=[finding(change="resolved")])
    with pytest.raises(ValidationError, match="acute infarct"):
        StructuredReport(normal=True, findings=[finding(certainty="possible")])


def test_predicates_follow_certainty_change_and_kind() -> None:
    """Invariant: denied and resolved findings are not present; status entries are present but no abnormality."""
    assert not is_present(finding(certainty="absent"))
    assert not is_present(finding(change="resolved"))
    assert is_present(finding(certainty="possible"))
    assert is_present(finding("normal"))
    assert not is_abnormal(finding("normal"))
    assert is_normal([finding(certainty="absent"), finding("artifact")])
    assert not is_normal([finding(change="resolved")])


def bounded(node: object) -> list[str]:
    """Paths of arrays and free strings without an upper bound, found by walking the schema."""
    missing = []
    if isinstance(node, dict):
        if node.get("type") == "array" and "maxItems" not in node:
            missing.append(json.dumps(node)[:60])
        if node.get("type") == "string" and not {"maxLength", "enum", "const"} & set(node):
            missing.append(json.dumps(node)[:60])
        missing += [found for value in node.values() for found in bounded(value)]
    if isinstance(node, list):
        missing += [found for value in node for found in bounded(value)]
    return missing


def test_json_schema_is_bounded() -> None:
    """Invariant: every list and string of the exported schema has an upper bound, and no extra key is allowed."""
    schema = json_schema()
    assert bounded(schema) == []
    objects = [schema, *schema["$defs"].values()]
    assert all(item["additionalProperties"] is False for item in objects)
    assert schema["properties"]["findings"]["maxItems"] == MAX_FINDINGS
    assert "enum" not in json_schema(canonical_terms=False)["$defs"]["Finding"]["properties"]["finding"]


def test_lexicons_name_every_term_once() -> None:
    """Invariant: each language names each term, no two alike, and the visibility table has a row for each."""
    terms = load_terms()
    for language in LANGUAGES:
        names = load_lexicon(language).names
        for group, canonical in (
            ("sites", terms.sites),
            ("findings", terms.findings),
            ("morphology", terms.morphology),
        ):
            assert set(names[group]) == set(canonical)
            assert len(set(names[group].values())) == len(canonical), (language, group)
    assert set(load_visibility()) == set(terms.findings)
    assert all(t.default_site in terms.sites for t in terms.findings.values())
    assert all(s.parent is None or s.parent in terms.sites for s in terms.sites.values())


def test_signal_needs_a_known_word() -> None:
    """Invariant: a signal of a named sequence may be unstated, but not invented."""
    assert Signal(sequence="T2w").signal == "none"
    with pytest.raises(ValidationError):
        Signal.model_validate({"sequence": "T2w", "signal": "bright"})
