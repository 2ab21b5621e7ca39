"""Pushing: one commit, what arrives is compared, faults of the Hub are met, and nothing secret is told."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest

from selip.model_cards.publishing.hub import Pushed, push_folder

REPO = "my-group/selip-test"
TOKEN = "hf_canary-token"
CONTENT = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# A card\n",
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 40,
    ".eval_results/a.yaml": b"- value: 1\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in CONTENT.items():
        path = tmp_path / "staged" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "staged"


def push(folder: Path, **changed: Any) -> Pushed:
    options = {"repo_type": "model", "private": False, "revision": "main", "message": "Test", **changed}
    return push_folder(folder, REPO, **options)


def test_files_arrive_byte_for_byte_in_one_commit(hub: Any, folder: Path) -> None:
    """The repository holds exactly the folder, and the history one commit with all of it and the message."""
    pushed = push(folder, message="A message")
    assert hub.files(REPO) == CONTENT
    (commit,) = hub.repositories["models", REPO].commits
    assert sorted(commit["files"]) == sorted(CONTENT)
    assert commit["summary"] == "A message"
    assert (pushed.files, pushed.others) == (len(CONTENT), ())


def test_pushing_again_changes_nothing(hub: Any, folder: Path) -> None:
    """The same folder again makes no commit and uploads no large file."""
    push(folder)
    hub.requests.clear()
    push(folder)
    assert len(hub.repositories["models", REPO].commits) == 1
    assert not [path for method, path in hub.requests if method == "PUT"]


@pytest.mark.parametrize("status", [500, 503, 0], ids=["500", "503", "broken connection"])
@pytest.mark.parametrize("where", ["/api/repos/create", "/commit/", "/tree/"])
def test_a_passing_fault_is_overcome(hub: Any, folder: Path, fault: Any, where: str, status: int) -> None:
    """A server error or a broken connection that passes costs another try, and nothing else."""
    hub.faults.append(fault("POST" if where != "/tree/" else "GET", where, status))
    push(folder)
    assert hub.files(REPO) == CONTENT


def test_an_interrupted_push_goes_on(hub: Any, folder: Path, fault: Any) -> None:
    """When the Hub stays away the error says so; the same call later uploads only what is not there yet."""
    hub.faults.append(fault("POST", "/commit/", 500, times=99))
    with pytest.raises(ConnectionError, match="say the same command again"):
        push(folder)
    assert hub.files(REPO) == {}  # a reader sees the old state
    hub.faults.clear()
    hub.requests.clear()
    push(folder)
    assert hub.files(REPO) == CONTENT
    assert not [path for method, path in hub.requests if method == "PUT"]


@pytest.mark.parametrize(
    ("status", "where", "hint"),
    [(403, "/api/repos/create", "may not write"), (403, "/preupload/", "may not write"), (429, "/commit/", "pause")],
)
def test_a_refusal_is_told_with_what_to_do(
    hub: Any, folder: Path, fault: Any, caplog: pytest.LogCaptureFixture, status: int, where: str, hint: str
) -> None:
    """What the Hub refuses is not tried again; the message has the status and a remedy, and no token anywhere."""
    hub.faults.append(fault("POST", where, status, times=99))
    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectionError, match=f"{status}.*{hint}") as raised:
        push(folder)
    assert TOKEN not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None


def test_a_wrong_token_is_told(hub: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command to log in, and not the token."""
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ConnectionError, match="hf auth login") as raised:
        push(folder)
    assert "hf_wrong" not in str(raised.value)


def test_a_file_that_arrives_changed_is_named(hub: Any, folder: Path) -> None:
    """What arrived is compared by its digest, small and large files alike."""
    for name in ("model.safetensors", "config.json"):
        hub.tamper = name
        (folder / name).write_bytes(b"{" + hashlib.sha256(name.encode()).digest() + b"}")
        with pytest.raises(ValueError, match=rf"{name} arrived changed"):
            push(folder)
        hub.tamper = ""
        hub.repositories.clear()


def test_other_files_of_the_repository_are_kept_and_named(hub: Any, folder: Path) -> None:
    """Nothing of an earlier version is deleted without a word; it is named."""
    (folder / "old.json").write_text("[]")
    push(folder)
    (folder / "old.json").unlink()
    (folder / "config.json").write_text('{"new": 1}')
    assert push(folder).others == ("old.json",)


def test_a_branch_is_made(hub: Any, folder: Path) -> None:
    """With a revision the main branch stays as it is."""
    push(folder, revision="v2")
    assert hub.files(REPO, branch="v2") == CONTENT
    assert hub.files(REPO) == {}


def test_private_is_asked_for(hub: Any, folder: Path) -> None:
    """A private repository is made private."""
    push(folder, private=True)
    assert hub.repositories["models", REPO].private


def test_offline_is_said_at_once(folder: Path) -> None:
    """With HF_HUB_OFFLINE, which all tests have, no request is made."""
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE"):
        push(folder)
