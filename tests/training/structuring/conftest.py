"""What tests of language models share: a tiny Qwen3 model that is tuned in a second, and a server that plays one."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selip.processing.compact_findings import compact
from selip.processing.rules.structurer import structure_report
from selip.training.config import TrackingConfig
from selip.training.structuring.config import TuneConfig, TunedModel, TuningData, TuningOptimization
from selip.training.structuring.tuning import tune_structurer

ARCHITECTURE = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def small_config(
    output: Path, *, validate_every: int = 2, patience: int | None = None, **optimization: Any
) -> TuneConfig:
    """A model from scratch on a few reports; a run of it takes a second or two."""
    values = {
        "steps": 4,
        "batch_reports": 4,
        "micro_batch": 2,
        "learning_rate": 3e-3,
        "warmup_steps": 1,
        "max_new_tokens": 6,
    }
    return TuneConfig(
        output=output,
        model=TunedModel(tuning="full", architecture=ARCHITECTURE, vocabulary_size=600, gradient_checkpointing=False),
        data=TuningData(pseudo_reports=16, validation_reports=2, max_tokens=1000, instruction=""),
        optimization=TuningOptimization(**{**values, **optimization}),
        tracking=TrackingConfig(validate_every=validate_every, patience=patience, log_every=1),
    )


def adapter_config(base: Path, output: Path, **optimization: Any) -> TuneConfig:
    """Adapters on the model of `base`, which is on no Hub."""
    config = small_config(output, **optimization)
    model = TunedModel(base=str(base), base_model_id="example/base", lora_rank=4, gradient_checkpointing=True)
    return replace(config, model=model)


@pytest.fixture(scope="session")
def scratch_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a run from scratch that was not interrupted."""
    output = tmp_path_factory.mktemp("scratch") / "run"
    tune_structurer(small_config(output))
    return output


@pytest.fixture(scope="session")
def adapter_run(scratch_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a run that tuned adapters on it and merged them."""
    output = tmp_path_factory.mktemp("adapter") / "run"
    tune_structurer(replace(adapter_config(scratch_run / "best", output), merge=True))
    return output


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
