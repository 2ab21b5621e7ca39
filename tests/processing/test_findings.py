"""The schema refuses what no report can mean, and its exported JSON Schema refuses the same."""

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    read_report,
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
        ({"term": "haemorrage"}, "did you mean hemorrhage"),
        ({"site": "frontal"}, "mean frontal lobe"),
        ({"laterality": "both"}, "laterality"),
        ({"size_mm": -1}, "size_mm"),
        ({"size_mm": float("nan")}, "size_mm"),
        ({"count": 0}, "count"),
        ({"morphology": ["roundish"]}, "mean round"),
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
    with pytest.raises(ValidationError) as error:
        finding(term="seen by Jane Doe on 3 May", site="Jane Doe's head")
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


TERMS = load_terms()
SCHEMA = jsonschema.Draft202012Validator(json_schema())
STRICT_SCHEMA = jsonschema.Draft202012Validator(json_schema(all_required=True))
FINDINGS = st.fixed_dictionaries(
    {"finding": st.sampled_from(list(TERMS.findings)), "site": st.sampled_from(list(TERMS.sites))},
    optional={
        "laterality": st.sampled_from(["left", "right", "bilateral", "midline", "none"]),
        "signals": st.lists(
            st.fixed_dictionaries(
                {"sequence": st.sampled_from(["T1w", "FLAIR", "any"])},
                optional={"signal": st.sampled_from(["hyper", "restricted", "none"])},
            ),
            max_size=12,
        ),
        "morphology": st.lists(st.sampled_from(TERMS.morphology), max_size=8),
        "count": st.integers(1, 999) | st.sampled_from(["few", "multiple", "none"]),
        "size_mm": st.none() | st.floats(0, 300, exclude_min=True),
        "severity": st.sampled_from(["none", "mild", "moderate", "severe"]),
        "acuity": st.sampled_from(["none", "acute", "subacute", "chronic"]),
        "change": st.sampled_from(["none", "new", "unchanged", "larger", "smaller", "resolved"]),
        "certainty": st.sampled_from(["present", "probable", "possible", "absent"]),
        "quote": st.text(max_size=30),
    },
)
REPORTS = st.fixed_dictionaries(
    {"normal": st.just(False)},
    optional={"findings": st.lists(FINDINGS, max_size=4), "impression": st.lists(st.text(max_size=20), max_size=4)},
)
BREAKS: list[tuple[str, Any]] = [
    *(("finding", "Jane"), ("site", ""), ("laterality", "both"), ("size_mm", 0), ("size_mm", 301), ("size_mm", "5")),
    *(("count", 0), ("count", 1000), ("count", "some"), ("count", "3"), ("severity", None), ("quote", "x" * 601)),
    *(("signals", [{"sequence": "T1"}]), ("signals", [{"signal": "hyper"}]), ("signals", [{"sequence": "PD"}] * 13)),
    *(("morphology", ["round"] * 9), ("morphology", ["x"]), ("certainty", "x"), ("colour", "red")),
]


@given(REPORTS)
def test_schema_and_model_accept_the_same_reports(content: dict[str, Any]) -> None:
    """Invariant: what the schema allows the model reads, and what the model writes both forms of the schema allow."""
    SCHEMA.validate(content)
    report = read_report(json.dumps(content))
    written = json.loads(report.model_dump_json())
    STRICT_SCHEMA.validate(written)
    assert read_report(json.dumps(written)) == report
    assert read_report(report.model_dump_json(exclude_defaults=True)) == report


@given(REPORTS.filter(lambda content: content.get("findings")), st.sampled_from(BREAKS))
def test_schema_and_model_refuse_the_same_reports(content: dict[str, Any], broken: tuple[str, Any]) -> None:
    """Invariant: one wrong value anywhere is refused by both, and the error names its place and not the value."""
    key, value = broken
    content = copy.deepcopy(content)
    content["findings"][-1][key] = value
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(content)
    with pytest.raises(ValueError, match=rf"finding {len(content['findings'])}\b") as error:
        read_report(json.dumps(content))
    assert "Jane" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_errors_name_the_first_problems_and_count_the_others() -> None:
    """Invariant: three problems by place in one line, the number of all others, and no word of the input."""
    wrong = {"finding": "infarctt", "site": "Jane Doe", "count": "some", "severity": "x", "Jane Doe": 1}
    with pytest.raises(ValueError, match="expected") as error:
        read_report(json.dumps({"normal": False, "findings": [wrong]}))
    assert str(error.value) == (
        "finding 1 finding: expected one of the 83 canonical finding terms (lexicon/terms.yaml); did you mean "
        "infarct or acute infarct or chronic infarct?; finding 1 site: expected one of the 82 canonical site terms "
        "(lexicon/terms.yaml); finding 1 count: input should be a valid integer; and 2 more"
    )
    with pytest.raises(ValueError, match=r"^invalid JSON") as error:
        read_report('{"normal": Jane')
    assert "Jane" not in str(error.value)


def test_strict_schema_requires_every_key() -> None:
    """Invariant: in strict form each object lists all of its keys as required and none has a default."""
    schema = json_schema(all_required=True)
    for node in (schema, *schema["$defs"].values()):
        assert node["required"] == list(node["properties"])
    assert "default" not in json.dumps(schema)


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


def is_snomed_ct_concept(number: str) -> bool:
    """Whether a number has the form of a concept of the international release: the check digit is that of Verhoeff.

    The dihedral group D5 is computed, not tabulated: j, k < 5 are rotations, from 5 on reflections.
    """

    def times(j: int, k: int) -> int:
        if j < 5:
            return (j + k) % 5 if k < 5 else (j + k - 5) % 5 + 5
        return (j - k) % 5 + 5 if k < 5 else (j - k) % 5

    permutation, check = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), 0
    for place, digit in enumerate(map(int, reversed(number))):
        for _ in range(place % 8):
            digit = permutation[digit]
        check = times(check, digit)
    return check == 0 and 6 <= len(number) <= 18 and number[-3:-1] == "00"


def test_concept_ids_have_the_form_of_snomed_ct() -> None:
    """Invariant: check digit and partition of each id are right, and no two sites share one."""
    assert is_snomed_ct_concept("22298006")
    assert not is_snomed_ct_concept("22289006")
    ids = [site.snomed_ct for site in load_terms().sites.values() if site.snomed_ct is not None]
    assert len(ids) == len(set(ids)) > 20
    assert [number for number in ids if not is_snomed_ct_concept(number)] == []


def test_signal_needs_a_known_word() -> None:
    """Invariant: a signal of a named sequence may be unstated, but not invented."""
    assert Signal(sequence="T2w").signal == "none"
    with pytest.raises(ValidationError):
        Signal.model_validate({"sequence": "T2w", "signal": "bright"})
