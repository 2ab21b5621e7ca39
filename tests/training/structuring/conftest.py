"""A server of the OpenAI chat form on the loopback interface that plays what it is told to."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from selip.processing.compact_findings import compact
from selip.processing.rules.structurer import structure_report

Play = Callable[["Request"], None]


class Request:
    """One request to the server, and how it may be answered."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int):
        self.handler, self.body, self.number = handler, body, number

    @property
    def sections(self) -> tuple[str, str]:
        """Findings and impression of the report that is asked about."""
        report = self.body["messages"][-1]["content"].rpartition("FINDINGS:\n")[2]
        findings, _, impression = report.partition("\n\nIMPRESSION:\n")
        return findings, impression

    def answer(self, content: str, finish_reason: str = "stop") -> None:
        """Status 200 with a message."""
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
        self.send(200, json.dumps({"choices": [choice]}).encode())

    def answer_well(self) -> None:
        """The findings that the rules read."""
        self.answer(compact(structure_report(*self.sections).findings))

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Any status and body."""
        self.handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(content)


class PlayingServer:
    """Counts requests, those under way at once, and keeps what was sent.

    Attributes:
        play: What is done with a request; replaced by tests.
        asked: Findings sections in the order of the requests.
        most: Requests that were under way at once.
    """

    def __init__(self) -> None:
        self.play: Play = Request.answer_well
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.most = self._under_way = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = json.dumps({"data": [{"id": "test-model"}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.take(Request(self, body, len(server.asked)), dict(self.headers))

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def take(self, request: Request, headers: dict[str, str]) -> None:
        """Play one request."""
        with self._lock:
            self.asked.append(request.sections[0])
            self.headers.append(headers)
            request.number = len(self.asked) - 1
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        try:
            self.play(request)
        finally:
            with self._lock:
                self._under_way -= 1

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[PlayingServer]:
    """A server that answers well until a test says otherwise."""
    playing = PlayingServer()
    yield playing
    playing.close()


@pytest.fixture
def pauses() -> list[float]:
    """What a client was asked to sleep, in place of sleeping."""
    return []
