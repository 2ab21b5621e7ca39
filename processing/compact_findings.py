"""The compact form of findings: what a language model writes in the place of a whole `StructuredReport`.

It is the JSON of the schema without what its defaults say, without blanks, keys in the order of the schema, and
without what can be had from the report itself: the quotes (`quotes.py` finds them again), the sentences of the
impression, and whether the report is normal. A model that writes less makes fewer errors and is faster.
"""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .findings import (
    MAX_FINDINGS,
    MAX_IMPRESSION,
    MAX_SENTENCE_CHARACTERS,
    Finding,
    StructuredReport,
    is_normal,
    json_schema,
)
from .quotes import find_quote
from .reports import split_sentences
from .structurer import ReportText
from .vocabulary import LANGUAGES

NOT_JSON = "invalid JSON"
NOT_THE_SCHEMA = "not the schema"
NOT_THIS_REPORT = "findings that the report does not name"

# Of the gold findings of 65 English and Chinese reports every one has its term or its site in the report; of findings
# of another report, 2 in 5. Answers below this share are of another report, or made up.
MIN_NAMED = 2 / 3


class _Answer(BaseModel):
    """What is read of an answer: its findings. A model that writes the rest of the schema too may do so."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    findings: list[Finding] = Field(max_length=MAX_FINDINGS)


def compact(findings: Sequence[Finding]) -> str:
    """Findings in the compact form, e.g. `{"findings":[{"finding":"normal","site":"brain"}]}`; sizes to 0.1 mm."""
    return json.dumps(
        {"findings": [_stated(finding) for finding in findings]}, ensure_ascii=False, separators=(",", ":")
    )


def _stated(finding: Finding) -> dict[str, Any]:
    values = finding.model_dump(exclude_defaults=True, exclude={"quote"})
    if "size_mm" in values:
        size = max(round(values["size_mm"], 1), 0.1)
        values["size_mm"] = int(size) if size == int(size) else size
    return values


def compact_schema() -> dict[str, Any]:
    """JSON Schema of the compact form, for constrained decoding; all bounds and terms of the full schema hold.

    A size has at most one decimal: nothing else would keep a decoder from writing digits for ever.
    """
    schema = json_schema()
    finding = schema["$defs"]["Finding"]
    del finding["properties"]["quote"]
    size = next(kind for kind in finding["properties"]["size_mm"]["anyOf"] if kind["type"] == "number")
    finding["properties"]["size_mm"] = {**size, "multipleOf": 0.1}
    schema["properties"] = {"findings": schema["properties"]["findings"]}
    schema["required"] = ["findings"]
    return schema


def read_compact(text: str, report: ReportText) -> StructuredReport | str:
    """What a model wrote about a report, completed from the report; or why it is of no use, in no words of it.

    Args:
        text: the answer, in the compact form or in that of the whole schema.
        report: the report that was asked about.

    Returns:
        The structured report, identical findings once; or `NOT_JSON`, `NOT_THE_SCHEMA`, or `NOT_THIS_REPORT` where the
        report names neither term nor site of more than a third of the findings (`normal` aside, which needs no word).
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return NOT_JSON
    try:
        written = _Answer.model_validate(values).findings
    except ValidationError:
        return NOT_THE_SCHEMA
    told = (report.findings, report.impression)
    sections = [[s.text for s in split_sentences(section, report.language)] for section in told]
    sentences = [sentence for section in sections for sentence in section]
    findings: list[Finding] = []
    for finding in written:
        quote = find_quote(finding, sentences, report.language)
        finding = finding.model_copy(update={"quote": quote})
        if finding not in findings:
            findings.append(finding)
    if report.language in LANGUAGES and not _are_named(findings):
        return NOT_THIS_REPORT
    impression = [" ".join(sentence.split())[:MAX_SENTENCE_CHARACTERS] for sentence in sections[1]]
    return StructuredReport(normal=is_normal(findings), findings=findings, impression=impression[:MAX_IMPRESSION])


def _are_named(findings: Sequence[Finding]) -> bool:
    """Whether most findings could be given a quote."""
    quotes = [finding.quote for finding in findings if finding.finding != "normal"]
    return sum(quote != "" for quote in quotes) >= MIN_NAMED * len(quotes)
