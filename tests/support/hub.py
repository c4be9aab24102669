"""As much of the Hugging Face Hub as a download needs: one repository, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(
    repo: str, files: Mapping[str, bytes], served: Mapping[str, bytes] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the paths of the files that it was asked for. `served` is what it sends in place of a file.

    The repository has the revisions `main`, `v1` and its one commit. As on the Hub, weights and vocabularies are LFS
    files: known by their SHA-256, and sent from elsewhere; all others are blobs of git.
    """
    server = _Hub(repo, files, {**files, **(served or {})})
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Hub(ThreadingHTTPServer):
    """A server of one repository: the `files` that it has, and the bytes that it sends for them."""

    def __init__(self, repo: str, files: Mapping[str, bytes], sent: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo = repo
        self.files = files
        self.sent = sent
        self.stored = {hashlib.sha256(data).hexdigest(): name for name, data in files.items() if _is_lfs(name)}
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    """One connection to a `_Hub`."""

    server: _Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path, repo = self.path.partition("?")[0], self.server.repo
        if path.startswith(f"/api/models/{repo}/revision/"):
            known = path.rpartition("/")[2] in ("main", "v1", COMMIT)
            self._json(_info(repo, self.server.files)) if known else self._refuse("RevisionNotFound")
        elif path.startswith(f"/{repo}/resolve/{COMMIT}/"):
            self._resolve(path.removeprefix(f"/{repo}/resolve/{COMMIT}/"), body)
        elif path.startswith("/storage/"):
            self._file(self.server.stored[path.removeprefix("/storage/")], body, {})
        else:
            self._refuse("RepoNotFound")

    def _resolve(self, name: str, body: bool) -> None:
        data = self.server.files[name]
        if not _is_lfs(name):
            self._file(name, body, {"ETag": f'"{_blob(data)}"', "X-Repo-Commit": COMMIT})
            return
        digest = hashlib.sha256(data).hexdigest()
        elsewhere = {
            "Location": f"http://localhost:{self.server.server_port}/storage/{digest}",  # as its storage: elsewhere
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(data)),
            "Content-Length": "0",
        }
        self._head(302, elsewhere)

    def _file(self, name: str, body: bool, headers: Mapping[str, str]) -> None:
        data = self.server.sent[name]
        self._head(200, {**headers, "Content-Length": str(len(data))})
        if body:
            self.server.asked.append(name)
            self.wfile.write(data)

    def _json(self, document: object) -> None:
        data = json.dumps(document).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(data))})
        self.wfile.write(data)

    def _refuse(self, code: str) -> None:
        self._head(404, {"X-Error-Code": code, "Content-Length": "0"})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()


def _is_lfs(name: str) -> bool:
    """By the `.gitattributes` that the Hub gives a repository."""
    return name.endswith((".safetensors", ".bin", ".model"))


def _blob(data: bytes) -> str:
    """What git calls a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _info(repo: str, files: Mapping[str, bytes]) -> dict[str, object]:
    siblings = []
    for name, data in files.items():
        sibling: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": _blob(data)}
        if _is_lfs(name):
            sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        siblings.append(sibling)
    return {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}
