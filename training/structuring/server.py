"""A language model behind an OpenAI-compatible server (vLLM and others) as a structurer.

One request a report, several at once. What may pass - a busy server, a broken connection - is asked again after a
pause that doubles; what will not - no such model, no permission - is an error. An answer that is no findings of this
report becomes a reason. Report texts go to the server and nowhere else: not into logs, not into errors.
"""

import hashlib
import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from selip.processing.compact_findings import compact_schema, read_compact
from selip.processing.findings import StructuredReport
from selip.processing.structurer import ReportText

from .prompt import INSTRUCTION, report_message

KEY_VARIABLE = "SELIP_SERVER_KEY"
"""Environment variable with the key of a server that asks for one; it is sent and never written anywhere."""

MAX_ANSWER_BYTES = 4 << 20
MAX_NEW_TOKENS = 4096
RETRIES = 6
LONGEST_PAUSE_S = 60.0
_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
_REFUSED = (400, 413, 422)

LEAST_DOWN = 4
"""Unanswered reports of a chunk, if they are most of it, from which a server counts as down."""
_DOWN = ("time-out", "connection failed", *(f"HTTP status {code}" for code in _PASSING))

CUT = "cut at max_tokens"
TOO_LONG = "answer too long"
NO_ANSWER = "no answer"
NO_FINDINGS = "no message in the answer"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Key and report go to the server that was named, and to no other that it names."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


class ServerStructurer:
    """Asks a server for the findings of reports.

    Attributes:
        name: "server".
        version: The model that is asked, and a fingerprint of how it is asked.
    """

    name = "server"

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        concurrency: int = 16,
        timeout_s: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """
        Args:
            url: Of the API, up to and with its version, e.g. `http://localhost:8000/v1`.
            model: Which model; the first that the server lists if not given.
            concurrency: Requests under way at most.
            timeout_s: How long the server may be silent.
            sleep: Waits between tries; tests have their own.

        Raises:
            ValueError: No URL of a server, or the server lists no model or refuses to.
            ConnectionError: It cannot be reached.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"expected a URL such as http://localhost:8000/v1, got {url!r}")
        self._url, self._timeout_s, self._sleep = url.rstrip("/"), timeout_s, sleep
        self._concurrency = concurrency
        self._schema = compact_schema()
        self._model = model or self._first_model()
        asked = json.dumps([INSTRUCTION, self._schema, MAX_NEW_TOKENS])
        self.version = f"{self._model}@{hashlib.sha256(asked.encode()).hexdigest()[:8]}"

    def __call__(self, reports: Sequence[ReportText]) -> list[StructuredReport | str]:
        """See `Structurer`. The longest are asked first, so that no long one is waited for at the end.

        Raises:
            ValueError: The server refuses every request of this kind (no such model, no permission).
            ConnectionError: It is down: most reports had no answer.
        """
        order = sorted(
            range(len(reports)), key=lambda index: -len(reports[index].findings + reports[index].impression)
        )
        results: list[StructuredReport | str] = [NO_ANSWER] * len(reports)
        with ThreadPoolExecutor(min(self._concurrency, max(1, len(reports)))) as pool:
            for index, result in zip(order, pool.map(lambda i: self._ask(reports[i]), order), strict=True):
                results[index] = result
        down = sum(result in _DOWN for result in results)
        if down >= LEAST_DOWN and 2 * down > len(results):
            raise ConnectionError(
                f"the server at {self._host()} left {down} of {len(results)} reports without an answer; what was done "
                "before is kept: run the command again to go on"
            )
        return results

    def _ask(self, report: ReportText) -> StructuredReport | str:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": f"{INSTRUCTION}\n\n{report_message(report)}"}],
            "temperature": 0,
            "max_tokens": MAX_NEW_TOKENS,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "findings", "schema": self._schema, "strict": True},
            },
        }
        answer, trouble = self._request("/chat/completions", body)
        if trouble:
            return trouble
        try:
            choice = answer["choices"][0]
            content, reason = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError):
            return NO_FINDINGS
        if reason == "length":
            return CUT
        return read_compact(content, report) if isinstance(content, str) else NO_FINDINGS

    def _first_model(self) -> str:
        answer, _ = self._request("/models", None)
        try:
            return str(answer["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"the server at {self._host()} lists no model; name one with --model") from None

    def _request(self, path: str, body: dict[str, Any] | None) -> tuple[Any, str]:
        """The decoded answer and "", or None and a reason; asked again while the trouble may pass."""
        reason, asked = NO_ANSWER, None
        for attempt in range(RETRIES + 1):
            if attempt:
                self._sleep(self._pause(attempt, asked))
            asked = None
            try:
                return self._send(path, body), ""
            except urllib.error.HTTPError as error:
                reason, asked = f"HTTP status {error.code}", _retry_after(error.headers)
                error.close()
                if error.code in _REFUSED and body is not None:
                    return None, reason
                if error.code not in _PASSING:
                    raise ValueError(
                        f"the server at {self._host()} answered {path} with status {error.code}; check --model, the "
                        f"URL, and {KEY_VARIABLE} where it asks for a key"
                    ) from None
            except _UnreadableError as error:
                reason = str(error)
            except (OSError, http.client.HTTPException) as error:
                reason = "time-out" if isinstance(error, TimeoutError) else "connection failed"
        if body is None:
            raise ConnectionError(f"no model could be had from the server at {self._host()}: {reason}")
        return None, reason

    def _send(self, path: str, body: dict[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers)
        deadline = time.monotonic() + self._timeout_s
        content = b""
        with _OPENER.open(request, timeout=self._timeout_s) as response:
            while piece := response.read1(1 << 16):
                content += piece
                if len(content) > MAX_ANSWER_BYTES:
                    raise _UnreadableError(TOO_LONG)
                if time.monotonic() > deadline:  # the time-out of a socket is that of each piece
                    raise TimeoutError
        try:
            return json.loads(content)
        except ValueError:
            raise _UnreadableError("answer is no JSON") from None

    def _pause(self, attempt: int, asked: float | None) -> float:
        """Seconds before another try: what the server asked for, else doubling, with chance so that not all come back
        at once."""
        doubled = min(LONGEST_PAUSE_S, 2.0 ** (attempt - 1))
        return min(LONGEST_PAUSE_S, asked) if asked is not None else doubled * random.uniform(0.5, 1.5)

    def _host(self) -> str:
        return urlsplit(self._url).netloc


class _UnreadableError(Exception):
    """An answer that came whole and is of no use; the next may be better."""


def _retry_after(headers: Message) -> float | None:
    """Seconds of a `Retry-After` header; None where there is none or it is a date."""
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None
