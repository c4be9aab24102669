"""The local stack's S3: private, restartable in place, and clear about what keeps it from starting."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import psutil
import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.domain.errors import ConfigError
from orchestrator.local import s3
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.sockets import free_port


def test_objects_and_signed_urls_survive_a_crash(own_s3_server: S3Server) -> None:
    objects = S3Objects(own_s3_server.new_bucket())
    artifact = objects.put("videos/x/1/video.mp4", b"moov", "video/mp4")
    url = objects.presign(artifact.key, lifetime_s=60)
    own_s3_server.kill()
    own_s3_server.start()
    objects.verify(artifact)
    answer = httpx.get(url)
    assert (answer.content, answer.headers["content-type"]) == (b"moov", "video/mp4")


def test_uploads_that_a_crash_left_unconfirmed_are_cleared_at_the_start(own_s3_server: S3Server) -> None:
    settings = own_s3_server.new_bucket()
    objects = S3Objects(settings)
    objects.put("kept", b"kept", "text/plain")
    own_s3_server.kill()
    leftover = own_s3_server.file(settings, ".rclone_temp_put_abc")
    leftover.write_bytes(b"half of a video")
    own_s3_server.start()
    assert not leftover.exists()
    assert objects.get("kept") == b"kept"


def test_the_keys_are_not_on_the_command_line(s3_server: S3Server) -> None:
    command = " ".join(psutil.Process(s3_server.process.pid).cmdline())
    assert "serve s3" in command
    assert ACCESS_KEY not in command
    assert SECRET_KEY not in command


def test_nobody_reads_without_a_key(own_s3_server: S3Server) -> None:
    settings = own_s3_server.new_bucket()
    S3Objects(settings).put("a", b"secret", "text/plain")
    answer = httpx.get(f"{settings.endpoint_url}/{settings.bucket}/a")
    assert answer.is_client_error
    assert b"secret" not in answer.content


def test_a_users_own_rclone_settings_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_READ_ONLY", "true")
    monkeypatch.setenv("RCLONE_CONFIG", "/nowhere/rclone.conf")
    server = S3Server.create()
    try:
        S3Objects(server.new_bucket()).put("a", b"written", "text/plain")
    finally:
        server.remove()


def test_a_taken_port_is_named(s3_server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"port {s3_server.port}.* is taken"):
        s3.start(tmp_path / "data", s3_server.port, ACCESS_KEY, SECRET_KEY, tmp_path / "log")


@pytest.mark.parametrize("wrong", ["", "a,b", 'a"b', "line\nbreak"])
def test_a_key_that_rclone_cannot_take_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match="secret_key"):
        s3.start(tmp_path / "data", free_port(), ACCESS_KEY, wrong, tmp_path / "log")


def test_a_server_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    with socket.socket() as bound:  # held, yet nothing answers there
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        server = s3.start(tmp_path / "data", port, ACCESS_KEY, SECRET_KEY, tmp_path / "log")
        with pytest.raises(ConfigError, match=f"S3 did not start on port {port};.* address already in use"):
            s3.wait_ready(server, port, tmp_path / "log")
