"""The bucket's promises, on servers that take other things than rclone's: moto's, an old one that insists on MD5."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import ObjectsRefused
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Strict(BaseHTTPRequestHandler):
    """In front of another server, and as old: no DeleteObjects without the body's MD5, no chunks with trailers."""

    protocol_version = "HTTP/1.1"
    behind = ""
    refuses_many = False

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        many = self.command == "POST" and "delete" in self.path
        if many and (self.refuses_many or self.headers.get("content-md5") != md5):
            self._refuse("InvalidRequest")
            return
        if "aws-chunked" in self.headers.get("content-encoding", "") or self.headers.get("x-amz-trailer"):
            self._refuse("NotImplemented")
            return
        answer = httpx.request(self.command, self.behind + self.path, content=body, headers=dict(self.headers))
        self._answer(answer.status_code, answer.content, answer.headers)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def _refuse(self, code: str) -> None:
        xml = f"<Error><Code>{code}</Code><Message>Missing required header: Content-MD5</Message></Error>"
        self._answer(400, xml.encode(), {"content-type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: Any) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "content-encoding"):
                self.send_header(name, value)
        length = headers.get("content-length") if self.command == "HEAD" else None
        self.send_header("content-length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=["moto", "rclone", "insists on MD5", "deletes one by one"])
def settings(request: pytest.FixtureRequest, s3_server: S3Server) -> Iterator[S3Settings]:
    given = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "bucket": f"b-{uuid4().hex[:12]}"}
    if request.param == "rclone":
        yield s3_server.new_bucket()
        return
    if request.param == "moto":
        found = S3Settings.model_validate(given | {"endpoint_url": request.getfixturevalue("moto")})
        S3Objects(found).ensure_bucket()
        yield found
        return
    origin = s3_server.new_bucket()
    handler = type("H", (Strict,), {"behind": origin.endpoint_url, "refuses_many": request.param != "insists on MD5"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield origin.model_copy(update={"endpoint_url": f"http://127.0.0.1:{server.server_port}"})
    server.shutdown()
    server.server_close()


def test_what_cogmill_needs_of_a_bucket_works(settings: S3Settings, tmp_path: Any) -> None:
    objects = S3Objects(settings)
    objects.check()  # what the doctor does
    large = tmp_path / "video.mp4"
    large.write_bytes(bytes(range(256)) * 100_000)
    artifact = objects.upload("videos/x/1/video.mp4", large, "video/mp4")
    objects.verify(artifact)
    assert b"".join(objects.stream(artifact.key, start=2, end=5)) == bytes((2, 3, 4, 5))
    keys = [objects.put(f"k/{number} é+", b"x", "text/plain").key for number in range(3)]
    objects.copy(artifact.key, keys[0])
    objects.verify(replace(artifact, key=keys[0]))
    assert sorted(objects.list_keys("k/")) == sorted(keys)
    objects.delete([*keys, artifact.key, "not/there"])
    assert list(objects.list_keys("")) == []


def test_what_a_server_refuses_to_delete_is_named_and_the_rest_is_deleted(s3_server: S3Server) -> None:
    """One of three under a lock, say."""
    objects = S3Objects(s3_server.new_bucket())
    for key in ("a", "b", "c"):
        objects.put(key, b"x", "text/plain")
    whole = objects._client.delete_objects

    def but_b(**request: Any) -> Any:
        request["Delete"]["Objects"] = [one for one in request["Delete"]["Objects"] if one["Key"] != "b"]
        return {**whole(**request), "Errors": [{"Key": "b", "Code": "AccessDenied"}]}

    objects._client.delete_objects = but_b  # type: ignore[method-assign]
    with pytest.raises(ObjectsRefused) as refused:
        objects.delete(["a", "b", "c"])
    assert refused.value.keys == {"b"}
    assert list(objects.list_keys("")) == ["b"]
