"""A stand-in of the Hugging Face Hub: the part of its HTTP interface that publishing and loading use, in memory.

Written from what huggingface_hub 2.4 sends; storage by Xet is not spoken (`HF_HUB_DISABLE_XET=1`), large files go by
Git LFS. It keeps every request, and answers wrongly where a test asks for it (`faults`).
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_canary-token"
_LFS_ENDINGS = (".safetensors", ".parquet", ".bin")


@dataclass
class Fault:
    """A wrong answer to requests whose method and path match: a status, or 0 for a broken connection."""

    method: str
    path: str  # regular expression
    status: int
    times: int = 1


@dataclass
class Repository:
    """Files by path, per branch; the commits with what each changed."""

    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[dict[str, Any]] = field(default_factory=list)

    def oid(self, branch: str) -> str:
        """Forty digits that change with the content of a branch."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.branches[branch].items()):
            digest.update(path.encode() + b"\0" + content)
        return digest.hexdigest()

    def branch_of(self, revision: str) -> str | None:
        """The branch that a name or a commit means."""
        if revision in self.branches:
            return revision
        return next((name for name in self.branches if self.oid(name) == revision), None)


@dataclass
class HubServer:
    """State of the stand-in. Keys of `repositories` are (kind, id), kind `models` or `datasets`."""

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)  # of Git LFS, by sha256
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    tamper: str = ""  # path of a file that arrives changed

    def files(self, repo_id: str, kind: str = "models", branch: str = "main") -> dict[str, bytes]:
        """Files of a repository."""
        return self.repositories[kind, repo_id].branches[branch]


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A running stand-in; `HF_ENDPOINT` is its `url`."""
    state = HubServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append((method, path))
        for fault in self.state.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                if not fault.status:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._send(fault.status, {"error": "a fault that a test asked for"})
                return
        for wanted, pattern, action in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method in wanted:
                action(self, body, **found.groupdict())
                return
        self._send(404, {"error": "no such page"}, {"X-Error-Code": "EntryNotFound"})

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _is_refused(self, *, writes: bool, private: bool = False) -> bool:
        if (writes or private) and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid credentials"})
            return True
        return False

    def _found(self, kind: str | None, repo: str) -> Repository | None:
        repository = self.state.repositories.get(((kind or "models").strip("/"), repo))
        if repository is None:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return None if self._is_refused(writes=False, private=repository.private) else repository

    def _branch(self, repository: Repository, revision: str) -> str | None:
        branch = repository.branch_of(revision)
        if branch is None:
            self._send(404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"})
        return branch

    def create(self, body: bytes) -> None:
        if self._is_refused(writes=True):
            return
        asked = json.loads(body)
        kind, repo = f"{asked.get('type', 'model')}s", f"{asked['organization']}/{asked['name']}"
        if (kind, repo) in self.state.repositories:
            self._send(409, {"error": "exists", "url": f"{self.state.url}/{repo}"})
            return
        self.state.repositories[kind, repo] = Repository(asked.get("visibility") == "private")
        self._send(200, {"url": f"{self.state.url}/{'' if kind == 'models' else kind + '/'}{repo}"})

    def branch(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        repository = None if self._is_refused(writes=True) else self._found(kind, repo)
        if repository is not None:
            exists = revision in repository.branches
            repository.branches.setdefault(revision, dict(repository.branches["main"]))
            self._send(409 if exists else 200, {"error": "exists"} if exists else {})

    def validate(self, body: bytes) -> None:
        self._send(200, {"warnings": [], "errors": []})

    def preupload(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        repository = None if self._is_refused(writes=True) else self._found(kind, repo)
        if repository is None:
            return
        files = repository.branches.get(revision, {})
        answers = []
        for asked in json.loads(body)["files"]:
            mode = "lfs" if asked["path"].endswith(_LFS_ENDINGS) else "regular"
            answer = {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False}
            if asked["path"] in files:
                content = files[asked["path"]]
                answer["oid"] = hashlib.sha256(content).hexdigest() if mode == "lfs" else _git_oid(content)
            answers.append(answer)
        self._send(200, {"files": answers})

    def lfs_batch(self, body: bytes, kind: str | None, repo: str) -> None:
        if self._is_refused(writes=True) or self._found(kind, repo) is None:
            return
        objects = []
        for asked in json.loads(body)["objects"]:
            answer = dict(asked)
            if asked["oid"] not in self.state.blobs:
                answer["actions"] = {"upload": {"href": f"{self.state.url}/lfs/{asked['oid']}"}}
            objects.append(answer)
        self._send(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._send(400, {"error": "another content than announced"})
            return
        self.state.blobs[oid] = body
        self._send(200, b"")

    def commit(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        repository = None if self._is_refused(writes=True) else self._found(kind, repo)
        branch = None if repository is None else self._branch(repository, revision)
        if repository is None or branch is None:
            return
        files = dict(repository.branches[branch])
        record: dict[str, Any] = {"branch": branch, "files": [], "deleted": []}
        for line in body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                record["summary"] = value["summary"]
            elif key == "deletedFile":
                files.pop(value["path"], None)
                record["deleted"].append(value["path"])
            else:
                is_lfs = key == "lfsFile"
                content = self.state.blobs[value["oid"]] if is_lfs else base64.b64decode(value["content"])
                changed = value["path"] == self.state.tamper
                files[value["path"]] = content[:-1] + b"?" if changed else content
                record["files"].append(value["path"])
        repository.branches[branch] = files
        repository.commits.append(record)
        url = f"{self.state.url}/{repo}/commit/{repository.oid(branch)}"
        self._send(200, {"commitUrl": url, "commitOid": repository.oid(branch)})

    def info(self, body: bytes, kind: str, repo: str, revision: str = "main") -> None:
        repository = self._found(kind, repo)
        branch = None if repository is None else self._branch(repository, revision)
        if repository is not None and branch is not None:
            names = [{"rfilename": name} for name in sorted(repository.branches[branch])]
            self._send(200, {"id": repo, "sha": repository.oid(branch), "siblings": names, "private": False})

    def tree(self, body: bytes, kind: str, repo: str, revision: str, folder: str | None = None) -> None:
        repository = self._found(kind, repo)
        branch = None if repository is None else self._branch(repository, revision)
        if repository is None or branch is None:
            return
        files, start = repository.branches[branch], f"{folder}/" if folder else ""
        below = {name: content for name, content in files.items() if name.startswith(start)}
        if start and not below:
            self._send(404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"})
            return
        is_recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        shown = [_entry(name, content) for name, content in sorted(below.items())]
        if not is_recursive:
            shown = [entry for entry in shown if "/" not in entry["path"][len(start) :]]
            parts = sorted({name[len(start) :].split("/")[0] for name in below if "/" in name[len(start) :]})
            shown += [{"type": "directory", "path": start + part, "oid": "0" * 40, "size": 0} for part in parts]
        self._send(200, shown)

    def paths(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        repository = self._found(kind, repo)
        branch = None if repository is None else self._branch(repository, revision)
        if repository is None or branch is None:
            return
        is_json = "json" in self.headers.get("Content-Type", "")
        asked = json.loads(body)["paths"] if is_json else parse_qs(body.decode()).get("paths", [])
        files, found = repository.branches[branch], []
        for path in [asked] if isinstance(asked, str) else asked:
            if path in files:
                found.append(_entry(path, files[path]))
            elif any(PurePosixPath(path) in PurePosixPath(name).parents for name in files):
                found.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
        self._send(200, found)

    def resolve(self, body: bytes, kind: str | None, repo: str, revision: str, path: str) -> None:
        repository = self._found(kind, repo)
        branch = None if repository is None else self._branch(repository, revision)
        if repository is None or branch is None:
            return
        content = repository.branches[branch].get(path)
        commit = {"X-Repo-Commit": repository.oid(branch)}
        if content is None:
            self._send(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound", **commit})
            return
        entry = _entry(path, content)
        headers = {**commit, "ETag": f'"{entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]}"'}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            self._send(200, content, {**headers, "Accept-Ranges": "bytes"})
            return
        start, end = int(span[1]), min(int(span[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(206, content[start : end + 1], headers)


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    """A file as the listing of a repository shows it."""
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _git_oid(content)}
    if name.endswith(_LFS_ENDINGS):
        sha = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
    return entry


_API = r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)"
_ROUTES = (
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate),
    ("POST", rf"{_API}/branch/(?P<revision>.+)", _Handler.branch),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", _Handler.commit),
    ("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)", _Handler.paths),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", _Handler.tree),
    (
        "GET",
        rf"{_API}(?:/revision/(?P<revision>[^/]+))?",
        lambda handler, body, kind, repo, revision: handler.info(body, kind, repo, revision or "main"),
    ),
    ("POST", r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
    (
        "GET HEAD",
        r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        _Handler.resolve,
    ),
)
