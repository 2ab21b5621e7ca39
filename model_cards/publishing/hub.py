"""Pushing a folder to the Hub in one commit, and looking at what arrived."""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

logger = logging.getLogger(__name__)

_TRIES = 4
_FIRST_WAIT_S = 1.0
_HINTS = {
    401: "log in with `hf auth login`, or set HF_TOKEN",
    403: "the account may not write there; ask for the right, or choose another OWNER",
    404: "there is no such repository or branch",
    409: "the repository was changed meanwhile; say the same command again",
    413: "the Hub takes no commit of this size; make the shards smaller",
    429: "the Hub asks for a pause; say the same command again later",
}
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        url: Where it is.
        commit: Id of the commit.
        files: How many files arrived as they are here.
        others: Files of the repository that were there before and are not part of this folder.
    """

    url: str
    commit: str
    files: int
    others: tuple[str, ...]


def push_folder(
    folder: Path,
    repo: str,
    *,
    repo_type: Literal["model", "dataset"],
    private: bool,
    revision: str,
    message: str,
) -> Pushed:
    """Make a repository if need be, put a folder into it in one commit, and compare what arrived.

    `HfApi.upload_folder` may split a folder over commits; here a reader sees the old state or the new one. What was
    uploaded before an interruption is not uploaded again.

    Raises:
        ConnectionError: The Hub is not reached, or refuses; the message says what to do.
        ValueError: Something else arrived than was sent.
    """
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(
            "expected the network to push, but HF_HUB_OFFLINE is set; unset it, or stop at --dry-run"
        )
    for name in ("httpx", "httpx2"):  # of huggingface_hub; each would tell every request, beside our own words
        logging.getLogger(name).setLevel(logging.WARNING)
    api = HfApi()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    operations = [CommitOperationAdd(path.relative_to(folder).as_posix(), str(path)) for path in files]
    where: dict[str, Any] = {"repo_id": repo, "repo_type": repo_type}
    _asked("make the repository", lambda: api.create_repo(**where, private=private, exist_ok=True))
    if revision != "main":
        _asked("make the branch", lambda: api.create_branch(**where, branch=revision, exist_ok=True))
    commit = _asked(
        "push",
        lambda: api.create_commit(**where, operations=operations, commit_message=message, revision=revision),
    )
    arrived = _asked("list what arrived", lambda: _listing(api, where, revision))
    wrong = [name for path in files if not _is_same(path, arrived.get(name := path.relative_to(folder).as_posix()))]
    if wrong:
        raise ValueError(
            f"expected the files of {folder} in {repo}, {', '.join(wrong[:5])} arrived changed or not at all; say the "
            "same command again"
        )
    sent = {operation.path_in_repo for operation in operations}
    others = tuple(sorted(arrived.keys() - sent - {".gitattributes"}))
    return Pushed(
        f"{constants.ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{repo}", commit.oid, len(files), others
    )


def _listing(api: HfApi, where: dict[str, Any], revision: str) -> dict[str, Any]:
    tree = api.list_repo_tree(**where, recursive=True, revision=revision)
    return {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}


def _is_same(path: Path, entry: Any) -> bool:
    """Whether a file of the Hub has the bytes of one here: SHA-256 of a large file, Git's id of a small one."""
    if entry is None or entry.size != path.stat().st_size:
        return False
    with path.open("rb") as file:
        if entry.lfs is not None:
            return bool(hashlib.file_digest(file, "sha256").hexdigest() == entry.lfs.sha256)
        content = file.read()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return bool(oid == entry.blob_id)


def _asked(what: str, request: Callable[[], ResultT]) -> ResultT:
    """Ask the Hub, again after a pause where it was not there or failed inside.

    Raises:
        ConnectionError: It refused, or failed to the last try. No header of a request is in the message.
    """
    for number in range(1, _TRIES + 1):
        try:
            return request()
        except (LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
            raise ConnectionError(f"cannot {what}: {_HINTS[401]} ({type(error).__name__})") from None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status and status < 500:
                raise ConnectionError(f"cannot {what}: the Hub says {status}; {_hint(status)}") from None
            reason = f"the Hub says {status or 'nothing'}"
        except OSError as error:
            reason = f"the Hub is not reached ({type(error).__name__})"
        except Exception as error:
            # Errors of the HTTP library that huggingface_hub uses, which is not ours to import.
            if not type(error).__module__.startswith(("httpx", "httpcore")):
                raise
            reason = f"the connection broke ({type(error).__name__})"
        if number == _TRIES:
            break
        logger.info("%s: %s; try %d of %d", what, reason, number + 1, _TRIES)
        time.sleep(_FIRST_WAIT_S * 2 ** (number - 1))
    raise ConnectionError(
        f"cannot {what}: {reason}, {_TRIES} times; say the same command again later, it goes on where it stopped"
    )


def _hint(status: int) -> str:
    return _HINTS.get(status, "look at the settings of the repository")
