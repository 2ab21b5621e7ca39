"""The app of a leaderboard: served on this machine alone, shown by a browser, uploads checked and deleted."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from selip.model_cards.leaderboard.tables import task_tabs
from selip.model_cards.leaderboard_app import space_files
from selip.model_cards.leaderboard_app.app import check_upload, datatypes, delete_older, headers, shown
from selip.training.leaderboard.config import LeaderboardServeConfig

BOARD = Path(__file__).parents[1] / "leaderboard" / "test_page.py"
SERVE = """
import json, sys
from pathlib import Path
from selip.model_cards.leaderboard_app import launch
board = json.loads(Path(sys.argv[1]).read_text())
launch(board, lambda files: "found " + ",".join(name for name, _ in files), host="127.0.0.1", port=int(sys.argv[2]),
       max_bytes=1000)
"""


@pytest.fixture(scope="module")
def board() -> dict:
    """The board of the tests of the page."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("leaderboard_page_tests", BOARD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.board_of())


@pytest.fixture(scope="module")
def address(board, tmp_path_factory):
    """The app, served by a process of its own."""
    pytest.importorskip("gradio", reason="the app needs the extra `space`")
    folder = tmp_path_factory.mktemp("app")
    (folder / "board.json").write_text(json.dumps(board))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(folder / "board.json"), str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_only_this_machine_is_served_by_default() -> None:
    """Loopback unless an address is given, a port that is one."""
    assert LeaderboardServeConfig(Path("board")).host == "127.0.0.1"
    with pytest.raises(ValueError, match="port"):
        LeaderboardServeConfig(Path("board"), port=0)


def test_rows_are_sortable_numbers(board) -> None:
    """Every row has a value a heading, numbers where numbers are sorted."""
    table = task_tabs(board)[0].tables[0]
    about, frame, chart = shown(table)
    rows = frame["data"]
    assert "9 cases" in about
    assert "<svg" in chart
    kinds = datatypes(table)
    assert len(kinds) == len(headers(table))
    for row in rows:
        assert len(row) == len(kinds)
        assert all(isinstance(value, int | float) for value, kind in zip(row, kinds, strict=True) if kind == "number")
    assert [row[3] for row in rows] == [60.0, 55.0, 7.0]
    assert [row[3] for row in frame["metadata"]["display_value"]] == ["60.0", "55.0", "7.0"]


@pytest.mark.parametrize("fails", [False, True])
def test_uploads_are_deleted_whatever_comes_of_them(tmp_path, fails) -> None:
    """Each upload has a folder of its own, and none is left."""
    paths = []
    for number, name in enumerate(("submission.json", "probe.parquet")):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_text("{}")
        paths.append(str(path))

    def check(files):
        assert [name for name, _ in files] == ["submission.json", "probe.parquet"]
        if fails:
            raise MemoryError
        return "taken"

    if fails:
        with pytest.raises(MemoryError):
            check_upload(check, paths)
    else:
        assert check_upload(check, paths) == ("taken", None)
    assert not list(tmp_path.iterdir())
    assert check_upload(check, None) == ("expected files, got none", None)


def test_uploads_that_nobody_checks_are_swept_away(tmp_path) -> None:
    """Files and folders of uploads go when they are old, and stay while somebody may still press the button."""
    now = time.time()
    for name, age in (("old", 700), ("new", 10)):
        folder = tmp_path / f"{name}-folder"
        folder.mkdir()
        (folder / "probe.parquet").write_bytes(b"x")
        (tmp_path / f"{name}-part").write_bytes(b"x")
        for path in (folder, tmp_path / f"{name}-part"):
            os.utime(path, (now - age, now - age))
    delete_older(tmp_path, 600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new-folder", "new-part"]


def test_a_space_is_a_few_readable_files() -> None:
    """Front matter as the Hub reads it, code that compiles, one requirement."""
    files = space_files("My board", "selip[space]")
    head = yaml.safe_load(files["README.md"].split("---")[1])
    assert head["sdk"] == "gradio"
    assert head["app_file"] == "app.py"
    assert head["title"] == "My board"
    compile(files["app.py"], "app.py", "exec")
    assert files["requirements.txt"] == "selip[space]\n"


def test_served_page_names_no_other_address(address) -> None:
    """A policy forbids the browser to load from elsewhere; analytics and sharing are off in the configuration."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        policy = answer.headers["content-security-policy"]
        text = answer.read().decode()
    assert "default-src 'self'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy
    assert "fonts.googleapis.com" not in text
    with urllib.request.urlopen(f"{address}config", timeout=30) as answer:
        config = json.loads(answer.read())
    assert config["analytics_enabled"] is False
    # nothing can be called by name from outside
    assert all(each["api_visibility"] == "private" for each in config["dependencies"])


def posted(url: str, body: bytes, kind: str) -> bytes:
    request = urllib.request.Request(url, data=body, headers={"content-type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def uploaded(address: str, name: str, content: bytes) -> str:
    """Upload a file as the page does; returns where the server put it."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + b"\r\n--x--\r\n"
    [path] = json.loads(posted(f"{address}gradio_api/upload", body, "multipart/form-data; boundary=x"))
    return str(path)


def test_uploads_go_the_way_of_the_page(address) -> None:
    """Two files up, the button pressed, the answer of the check back, and no file left; too large a one is refused."""
    names = ["submission.json", "probe.parquet"]
    paths = [uploaded(address, name, b"{}") for name in names]
    assert all(Path(path).is_file() for path in paths)
    with urllib.request.urlopen(f"{address}config", timeout=30) as answer:
        config = json.loads(answer.read())
    button = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "check")
    [number] = [each["id"] for each in config["dependencies"] if [button, "click"] in each["targets"]]
    files = [
        {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        for path, name in zip(paths, names, strict=True)
    ]
    asked = {"data": [files], "fn_index": number, "session_hash": "one", "trigger_id": button}
    posted(f"{address}gradio_api/queue/join", json.dumps(asked).encode(), "application/json")
    with urllib.request.urlopen(f"{address}gradio_api/queue/data?session_hash=one", timeout=60) as stream:
        for line in stream:
            message = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
            if message.get("msg") == "process_completed":
                break
    assert message["output"]["data"][0] == "found submission.json,probe.parquet"
    assert not any(Path(path).exists() for path in paths)
    with pytest.raises(urllib.error.HTTPError, match="413"):
        uploaded(address, "submission.json", b"x" * 100_000)


def test_browser_shows_tabs_table_and_intervals(address, tmp_path) -> None:
    """Headless Chromium: every task has its tab, the first one its table and chart."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium, found none")
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=30000", "--window-size=1200,1600"),
    ]
    picture = tmp_path / "app.png"
    subprocess.run([*command, f"--screenshot={picture}", address], capture_output=True, timeout=300, check=True)
    assert picture.stat().st_size > 20_000
    done = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=300, check=True)
    for words in ("Retrieval", "Probe", "Check a submission", "Alpha plain", "Gamma", "<svg", "chart-strong"):
        assert words in done.stdout, words
