"""The description of a submission, `submission.json`: what may stand in it, and in which words it is refused.

    submissions/SYSTEM/submission.json
    submissions/SYSTEM/TASK.parquet        run, the keys of each case, its scores (see `references.py`)

Whatever is read here came from somebody else. Names are plain, texts hold no markup and no control or direction
marks, everything has a limit, and a reason never repeats what was refused.
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .config import ID_PATTERN, MAX_RUNS

FORMAT_VERSION = 1
DESCRIPTION_NAME = "submission.json"
MAX_DESCRIPTION_BYTES = 4 << 20
_MAX_TEXT = 300
_MAX_METRICS = 5000
_MAX_DIGITS = 40
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()-]{0,63}")
_LINK = re.compile(r"(?:https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/%#?=&+,-]*)?)?")
_LICENCE = re.compile(r"[A-Za-z0-9 .+()-]{0,64}")
_METRIC = re.compile(r"[^\W_][\w ,.()@/+'=%-]{0,159}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _plain(text: str) -> str:
    """The text if it is safe to show.

    Raises:
        ValueError: It is not.
    """
    if unicodedata.normalize("NFC", text) != text:
        raise ValueError("expected text in Unicode form NFC")
    if any(unicodedata.category(letter)[0] == "C" or letter in "\u2028\u2029" for letter in text):
        raise ValueError("expected text without control, direction or invisible characters")
    if any(letter in "<>`\\" for letter in text):
        raise ValueError("expected text without markup (angle brackets, backticks, backslashes)")
    return text


def _matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"expected {expected}")
        return text

    return AfterValidator(check)


def _date(text: str) -> str:
    if text:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError("expected a date YYYY-MM-DD")
        date.fromisoformat(text)
    return text


Text = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(_plain)]
Metric = Annotated[str, Field(max_length=160), AfterValidator(_plain), _matching(_METRIC, "a name of a metric")]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BenchmarkNamed(_Strict):
    """The benchmark that a submission was made for."""

    name: Text
    version: Text
    fingerprint: Annotated[str, _matching(_SHA256, "a SHA-256 in hexadecimal digits")]


class Submission(_Strict):
    """What `submission.json` says.

    Attributes:
        id: Id of the system, the name of the folder.
        system: Name of the system.
        runs: How often it was trained; every table holds the runs 0 ... runs - 1.
        reported: By task and metric the value of every run, which are computed again.
        self_reported: By task and metric one value that cannot be: its cases were not handed in.
    """

    format_version: int = Field(ge=FORMAT_VERSION, le=FORMAT_VERSION)
    id: Annotated[str, _matching(re.compile(ID_PATTERN), "lower-case letters, digits, _ and -, at most 48")]
    system: Annotated[str, _matching(_NAME, "letters, digits, spaces and . _ + ( ) -, at most 64")]
    organisation: Text = ""
    link: Annotated[str, Field(max_length=_MAX_TEXT), _matching(_LINK, "https://...")] = ""
    description: Text = ""
    licence: Annotated[str, _matching(_LICENCE, "a licence such as Apache-2.0")] = ""
    trained_on: Text = ""
    date: Annotated[str, AfterValidator(_date)] = ""
    benchmark: BenchmarkNamed
    runs: int = Field(ge=1, le=MAX_RUNS)
    reported: dict[Metric, dict[Metric, list[Number | None]]] = Field(default_factory=dict, max_length=20)
    self_reported: dict[Metric, dict[Metric, Number]] = Field(default_factory=dict, max_length=20)


def parse_submission(content: bytes) -> tuple[Submission | None, list[str]]:
    """Read `submission.json`.

    Args:
        content: The file.

    Returns:
        The submission, or None and every reason why it is none; reasons name fields, never what stood in them.
    """
    if len(content) > MAX_DESCRIPTION_BYTES:
        return None, [f"{DESCRIPTION_NAME}: expected at most {MAX_DESCRIPTION_BYTES >> 20} MiB"]
    try:
        values = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_whole
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _RefusedError) else "expected JSON in UTF-8, of little depth"
        return None, [f"{DESCRIPTION_NAME}: {reason}"]
    try:
        found = Submission.model_validate(values)
    except (ValidationError, RecursionError) as error:
        reasons = _reasons(error) if isinstance(error, ValidationError) else ["expected little depth"]
        return None, [f"{DESCRIPTION_NAME}: {reason}" for reason in reasons]
    return found, _count_problems(found)


class _RefusedError(ValueError):
    """JSON that is well formed and still not taken."""


def _refuse(_: str) -> NoReturn:
    raise _RefusedError("expected finite numbers, got NaN or infinity")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _RefusedError(f"expected numbers of at most {_MAX_DIGITS} digits")
    return int(digits)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RefusedError("expected each key once in an object")
    return values


_FIELDS = {*Submission.model_fields, *BenchmarkNamed.model_fields}


def _reasons(error: ValidationError) -> list[str]:
    """One reason a field; names that are not ours are not repeated."""
    reasons: dict[str, None] = {}
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        known = [str(part) for part in each["loc"] if part in _FIELDS]
        kind = "unknown field" if each["type"] == "extra_forbidden" else each["msg"].removeprefix("Value error, ")
        reasons[f"{'.'.join(known) or 'an object'}: {kind}"] = None
    return list(reasons)


def _count_problems(found: Submission) -> list[str]:
    """What single fields cannot tell."""
    tables: list[Mapping[str, Any]] = [*found.reported.values(), *found.self_reported.values()]
    problems = []
    if any(len(each) > _MAX_METRICS for each in tables):
        problems.append(f"{DESCRIPTION_NAME}: expected at most {_MAX_METRICS} metrics of a task")
    if any(len(values) != found.runs for each in found.reported.values() for values in each.values()):
        problems.append(f"{DESCRIPTION_NAME}: expected a value of each of the {found.runs} runs for every metric")
    return problems
