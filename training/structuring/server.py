"""A language model behind an OpenAI-compatible server (vLLM and others) as a structurer.

One request a report, several at once. What may pass - a busy server, a broken connection - is asked again after a
pause that doubles; what will not - no such model, no permission - is an error. An answer that is no findings of this
report becomes a reason. Report texts go to the server and nowhere else: not into logs, not into errors.
"""

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

CUT = "cut at max_tokens"
TOO_LONG = "answer too long"
NO_ANSWER = "no answer"
NO_FINDINGS = "no message in the answer"


class ServerStructurer:
    """Asks a server for the findings of reports.

    Attributes:
        name: "server".
        version: The model that is asked.
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
        self.version = model or self._first_model()

    def __call__(self, reports: Sequence[ReportText]) -> list[StructuredReport | str]:
        """See `Structurer`. The longest are asked first, so that no long one is waited for at the end.

        Raises:
            ValueError: The server refuses every request of this kind (no such model, no permission).
        """
        order = sorted(range(len(reports)), key=lambda index: -len(reports[index].findings))
        results: list[StructuredReport | str] = [NO_ANSWER] * len(reports)
        with ThreadPoolExecutor(min(self._concurrency, max(1, len(reports)))) as pool:
            for index, result in zip(order, pool.map(lambda i: self._ask(reports[i]), order), strict=True):
                results[index] = result
        return results

    def _ask(self, report: ReportText) -> StructuredReport | str:
        body = {
            "model": self.version,
            "messages": [{"role": "user", "content": f"{INSTRUCTION}\n\n{report_message(report)}"}],
            "temperature": 0,
            "max_tokens": MAX_NEW_TOKENS,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "findings", "schema": self._schema, "strict": True},
            },
        }
        answer = self._request("/chat/completions", body)
        if isinstance(answer, str):
            return answer
        try:
            choice = answer["choices"][0]
            content, reason = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError):
            return NO_FINDINGS
        if reason == "length":
            return CUT
        return read_compact(content, report) if isinstance(content, str) else NO_FINDINGS

    def _first_model(self) -> str:
        answer = self._request("/models", None)
        try:
            return str(answer["data"][0]["id"])  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"the server at {self._host()} lists no model; name one with --model") from None

    def _request(self, path: str, body: dict[str, Any] | None) -> Any:
        """The decoded answer, or a reason; asked again while the trouble may pass."""
        reason, asked = NO_ANSWER, None
        for attempt in range(RETRIES + 1):
            if attempt:
                self._sleep(self._pause(attempt, asked))
            asked = None
            try:
                return self._send(path, body)
            except urllib.error.HTTPError as error:
                reason, asked = f"HTTP status {error.code}", _retry_after(error.headers)
                error.close()
                if error.code in _REFUSED and body is not None:
                    return reason
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
        return reason

    def _send(self, path: str, body: dict[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers)
        with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
            content = response.read(MAX_ANSWER_BYTES + 1)
        if len(content) > MAX_ANSWER_BYTES:
            raise _UnreadableError(TOO_LONG)
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
