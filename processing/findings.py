"""The schema of structured reports: the contract between structurer, text rendering, similarity and evaluation.

A finding is ONE lesion or statement, however many sequences show it. "Not mentioned" is not `absent`: an absent
finding is one that the report denies. `resolved` findings are not present.
"""

import difflib
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .vocabulary import Terms, load_terms

Sequence = Literal["T1w", "T1c", "T2w", "FLAIR", "DWI", "ADC", "SWI", "MRA", "PD", "any"]
SignalWord = Literal["hyper", "hypo", "iso", "mixed", "restricted", "enhancing", "none"]
Laterality = Literal["left", "right", "bilateral", "midline", "none"]
Severity = Literal["none", "mild", "moderate", "severe"]
Acuity = Literal["none", "acute", "subacute", "chronic"]
Change = Literal["none", "new", "unchanged", "larger", "smaller", "resolved"]
Certainty = Literal["present", "probable", "possible", "absent"]

MAX_FINDINGS = 96  # the longest real report of the reference set has 46 entries
MAX_IMPRESSION = 48
MAX_SIGNALS = 12
MAX_MORPHOLOGY = 8
MAX_QUOTE_CHARACTERS = 600
MAX_SENTENCE_CHARACTERS = 1200
MAX_COUNT = 999
MAX_SIZE_MM = 300.0  # more than any diameter of a head
_MOST_PROBLEMS = 3  # of an unreadable report that an error names


def _check_term(value: str, known: Collection[str], field: str) -> str:
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=3, cutoff=0.5)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    # the value itself may be words of a report
    raise ValueError(f"expected one of the {len(known)} canonical {field} terms (lexicon/terms.yaml){meant}")


def _finding_term(value: str) -> str:
    return _check_term(value, load_terms().findings, "finding")


def _site_term(value: str) -> str:
    return _check_term(value, load_terms().sites, "site")


def _morphology_term(value: str) -> str:
    return _check_term(value, load_terms().morphology, "morphology")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)  # an input may be patient text


class Signal(_Strict):
    """What one sequence shows. `any`: the report names no sequence; `none`: it names the sequence but no signal."""

    sequence: Sequence
    signal: SignalWord = "none"


class Finding(_Strict):
    """One lesion or statement of a report; terms are canonical (`lexicon/terms.yaml`).

    `size_mm` is the largest stated dimension in mm, for a midline shift its amount; there `laterality` is the
    direction. `quote` holds verbatim words of the report, from which the span is computed.
    """

    finding: Annotated[str, AfterValidator(_finding_term)]
    site: Annotated[str, AfterValidator(_site_term)]
    laterality: Laterality = "none"
    signals: list[Signal] = Field(default=[], max_length=MAX_SIGNALS)
    morphology: list[Annotated[str, AfterValidator(_morphology_term)]] = Field(default=[], max_length=MAX_MORPHOLOGY)
    count: Annotated[int, Field(ge=1, le=MAX_COUNT, strict=True)] | Literal["few", "multiple", "none"] = "none"
    size_mm: float | None = Field(default=None, gt=0, le=MAX_SIZE_MM, strict=True)
    severity: Severity = "none"
    acuity: Acuity = "none"
    change: Change = "none"
    certainty: Certainty = "present"
    quote: str = Field(default="", max_length=MAX_QUOTE_CHARACTERS)


class StructuredReport(_Strict):
    """The findings of one study's report. `normal` as in the annotation guide: see `is_normal`."""

    normal: bool = Field(strict=True)
    findings: list[Finding] = Field(default=[], max_length=MAX_FINDINGS)
    impression: list[Annotated[str, Field(max_length=MAX_SENTENCE_CHARACTERS)]] = Field(
        default=[], max_length=MAX_IMPRESSION
    )

    @model_validator(mode="after")
    def _normal_has_no_abnormality(self) -> "StructuredReport":
        wrong = [f.finding for f in self.findings if is_abnormal(f)] if self.normal else []
        if wrong:
            raise ValueError(f"expected no abnormal finding in a report marked normal, got {', '.join(wrong[:3])}")
        return self


def is_present(finding: Finding) -> bool:
    """Whether the study shows the finding: neither denied nor resolved; hedged findings count as present."""
    return finding.certainty != "absent" and finding.change != "resolved"


def is_abnormal(finding: Finding) -> bool:
    """Whether the finding is present and more than a status (normal, normal variant, artifact)."""
    return is_present(finding) and load_terms().findings[finding.finding].kind != "status"


def is_normal(findings: list[Finding]) -> bool:
    """Whether a report with these findings is normal: nothing but denials and status entries.

    A resolved finding keeps a report from being normal, as in the annotation guide, although it is not present.
    """
    kinds = load_terms().findings
    return all(f.certainty == "absent" or kinds[f.finding].kind == "status" for f in findings)


def read_report(text: str | bytes) -> StructuredReport:
    """Read the JSON of a structured report, as a structurer or a model wrote it.

    Raises:
        ValueError: it does not follow the schema. The message says where and what was expected, in one line, and
            repeats nothing of what stands there.
    """
    try:
        return StructuredReport.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(problems_of(error)) from None


def problems_of(error: ValidationError) -> str:
    """The first few problems of a structured report in one line, repeating nothing of what stands there.

    Each has its place, findings counted from 1 as readers do, e.g. "finding 2 site: expected ...".
    """
    found: dict[str, str] = {}
    for problem in error.errors(include_input=False, include_url=False):
        where, message = list(problem["loc"]), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":  # the key may be anything
            where, message = where[:-1], "a key that the schema does not have"
        if "count" in where:
            where = where[: where.index("count") + 1]  # its two forms are one field
        found.setdefault(_place(where), message[:1].lower() + message[1:])
    shown = [f"{place}: {message}".removeprefix(": ") for place, message in found.items()][:_MOST_PROBLEMS]
    more = f"; and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return "; ".join(shown) + more


def _place(where: list[int | str]) -> str:
    number = where[1] if len(where) > 1 and where[0] == "findings" else None
    named = [f"finding {number + 1}"] if isinstance(number, int) else []
    rest = where[2:] if named else where
    return " ".join([*named, ".".join(map(str, rest))]).strip()


def json_schema(*, canonical_terms: bool = True, all_required: bool = False) -> dict[str, Any]:
    """JSON Schema of `StructuredReport` with all bounds, for constrained decoding.

    Args:
        canonical_terms: write the canonical terms as `enum` (what validation demands); False leaves plain strings for
            decoders that limit the size of a grammar.
        all_required: every key must be written, as servers of the OpenAI interface demand in strict mode; False lets a
            decoder leave out a key whose value is the default.

    Example:
        >>> schema = json_schema(all_required=True)
        >>> named = {"name": "report", "strict": True, "schema": schema}
        >>> response_format = {"type": "json_schema", "json_schema": named}
    """
    schema = StructuredReport.model_json_schema()
    if all_required:
        for node in (schema, *schema["$defs"].values()):
            node["required"] = list(node["properties"])
            for value in node["properties"].values():
                value.pop("default", None)
    if canonical_terms:
        terms: Terms = load_terms()
        properties = schema["$defs"]["Finding"]["properties"]
        properties["finding"]["enum"] = list(terms.findings)
        properties["site"]["enum"] = list(terms.sites)
        properties["morphology"]["items"]["enum"] = list(terms.morphology)
    return schema
