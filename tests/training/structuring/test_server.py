"""A server as a structurer: what it may do to us, and what we make of it."""

import logging
import time
from collections import Counter

import pytest

from selip.processing.rules.structurer import structure_report
from selip.processing.structurer import ReportText
from selip.training.structuring import server as server_module
from selip.training.structuring.server import ServerStructurer

TEXT = "Acute infarct in the left thalamus."
REPORTS = [ReportText(f"{TEXT} Cyst of {size} mm in the pons.", "", "en") for size in range(2, 14)]


def slowly(request):
    """Answers well after a moment."""
    time.sleep(0.05)
    request.answer_well()


@pytest.fixture
def ask(server, pauses):
    """A structurer on the server that does not really sleep."""
    return lambda **options: ServerStructurer(server.url, sleep=pauses.append, **options)


def test_findings_come_back_in_order_and_few_are_asked_at_once(server, ask):
    """Each result is that of its report; never more requests than allowed; the model is the one the server lists."""
    server.play = slowly
    structurer = ask(concurrency=3)
    results = structurer(REPORTS)
    expected = [structure_report(*report).findings for report in REPORTS]
    places = [[(f.finding, f.site, f.size_mm) for f in result.findings] for result in results]
    assert places == [[(f.finding, f.site, f.size_mm) for f in findings] for findings in expected]
    assert 1 < server.most <= 3
    assert structurer.version.startswith("test-model@")
    assert all(
        finding.quote in report.findings for r, report in zip(results, REPORTS, strict=True) for finding in r.findings
    )


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, ask, pauses, status):
    """Twice refused, then answered: pauses double, or are what the server asks for."""
    headers = {"Retry-After": "7"} if status == 429 else {}

    def play(request):
        request.answer_well() if request.number >= 2 else request.send(status, b"busy", headers)

    server.play = play
    (result,) = ask()(REPORTS[:1])
    assert not isinstance(result, str)
    assert len(server.asked) == 3
    assert len(pauses) == 2
    assert pauses == [7.0, 7.0] if status == 429 else 0.5 <= pauses[0] <= 1.5 and 1.0 <= pauses[1] <= 3.0


BAD = {
    "no JSON": (lambda request: request.answer("Sorry, I cannot."), "invalid JSON", 1),
    "cut JSON": (lambda request: request.answer('{"findings":[{"finding":"cy', "length"), "cut at max_tokens", 1),
    "other schema": (lambda request: request.answer('{"findings":[{"finding":"dragon"}]}'), "not the schema", 1),
    "absurd size": (
        lambda request: request.answer('{"findings":[{"finding":"cyst","site":"pons","size_mm":9e9}]}'),
        "not the schema",
        1,
    ),
    "no choices": (lambda request: request.send(200, b"{}"), "no message in the answer", 1),
    "no text": (lambda request: request.answer(None), "no message in the answer", 1),
    "a string": (lambda request: request.send(200, b'"Acute infarct of Mrs Canary"'), "no message in the answer", 1),
    "HTML": (lambda request: request.send(200, b"<html>welcome</html>"), "answer is no JSON", 3),
    "refused": (lambda request: request.send(400, b"too long"), "HTTP status 400", 1),
    "always busy": (lambda request: request.send(503, b""), "HTTP status 503", 3),
    "hangs up": (lambda request: request.handler.connection.close(), "connection failed", 3),
    "huge": (lambda request: request.send(200, b" " * 5000), "answer too long", 3),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_server_gets_wrong_becomes_a_reason(server, ask, monkeypatch, name):
    """A few words that say what was wrong, asked again only where that may help."""
    monkeypatch.setattr(server_module, "RETRIES", 2)
    monkeypatch.setattr(server_module, "MAX_ANSWER_BYTES", 4000)
    server.play, reason, requests = BAD[name]
    assert ask()(REPORTS[:1]) == [reason]
    assert len(server.asked) == requests


def test_a_silent_server_times_out(server, ask, monkeypatch):
    """No answer within the time is a reason, too."""
    monkeypatch.setattr(server_module, "RETRIES", 0)
    server.play = lambda request: slowly(request)
    assert ask(timeout_s=0.01, model="named")(REPORTS[:1]) == ["time-out"]


def test_a_dripping_answer_times_out(server, ask, monkeypatch):
    """The time is that of the whole answer, not of each piece."""
    monkeypatch.setattr(server_module, "RETRIES", 0)

    def drip(request):
        request.handler.send_response(200)
        request.handler.send_header("Content-Length", "40")
        request.handler.end_headers()
        for _ in range(40):
            request.handler.wfile.write(b" ")
            time.sleep(0.02)

    server.play = drip
    start = time.monotonic()
    assert ask(timeout_s=0.1)(REPORTS[:1]) == ["time-out"]
    assert time.monotonic() - start < 0.6


def test_a_redirect_is_not_followed(server, ask, monkeypatch):
    """Neither key nor report goes to a server that nobody named."""
    monkeypatch.setenv("SELIP_SERVER_KEY", "canary-key")
    server.play = lambda request: request.send(302, b"", {"Location": server.url + "/elsewhere"})
    with pytest.raises(ValueError, match="status 302"):
        ask()(REPORTS[:1])
    assert len(server.asked) == 1


def test_a_server_that_is_down_stops_the_run(server, ask, monkeypatch):
    """Most of a chunk without an answer is an outage to go on from, not findings of the rules."""
    monkeypatch.setattr(server_module, "RETRIES", 0)
    server.play = lambda request: request.send(503, b"")
    with pytest.raises(ConnectionError, match="12 of 12 reports without an answer"):
        ask()(REPORTS)


def test_one_bad_answer_leaves_the_others(server, ask):
    """A lie about one report is a reason for that one."""

    def play(request):
        request.answer("nonsense") if "Cyst of 5 mm" in request.sections[0] else request.answer_well()

    server.play = play
    results = ask()(REPORTS)
    assert Counter(isinstance(result, str) for result in results) == {False: len(REPORTS) - 1, True: 1}
    assert results[3] == "invalid JSON"


def test_a_refusal_of_everything_is_an_error_without_the_report(server, ask, caplog):
    """No permission, no such model: said once, with what to check, and no word of the report in error or log."""
    server.play = lambda request: request.send(401, TEXT.encode())
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match="status 401; check --model") as raised:
        ask()(REPORTS[:2])
    assert "infarct" not in str(raised.value) + caplog.text


def test_a_key_is_sent_and_not_shown(server, ask, monkeypatch):
    """The key is the environment's alone."""
    monkeypatch.setenv("SELIP_SERVER_KEY", "canary-key")
    structurer = ask()
    structurer(REPORTS[:1])
    assert server.headers[-1]["Authorization"] == "Bearer canary-key"
    assert "canary" not in repr(vars(structurer))


def test_no_server_is_said_at_once(pauses, monkeypatch):
    """A wrong URL, and one at which nobody listens."""
    monkeypatch.setattr(server_module, "RETRIES", 1)
    with pytest.raises(ValueError, match="expected a URL"):
        ServerStructurer("localhost:8000")
    with pytest.raises(ConnectionError, match="no model could be had"):
        ServerStructurer("http://127.0.0.1:9/v1", sleep=pauses.append)
