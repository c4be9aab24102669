"""A Ray cluster with TLS on: our driver joins it, its actors answer, and who has no certificate hears nothing."""

from __future__ import annotations

import secrets
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.local import ray
from tests.support.certificates import issued
from tests.support.sockets import free_port

# What a dispatcher does, in a process of its own: Ray reads these variables when it is imported.
DRIVER = """
import asyncio, sys
import ray
from workers.cluster import RayWorkers

workers = RayWorkers.connect(sys.argv[1], "tls")
class Actor:
    def answer(self): return 42
actor = ray.remote(Actor).options(name="one", namespace="tls", lifetime="detached").remote()
print(workers.gpus(), ray.get(actor.answer.remote()), asyncio.run(workers.list_workers()))
workers.close()
"""
# How every connection of HTTP/2 begins (RFC 9113, 3.4), with an empty SETTINGS frame, which the server answers.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def heard(port: int, tls: ssl.SSLContext | None) -> bytes:
    """The first bytes that the head says to a caller, with TLS as it is told or without; none where it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as bare:
        try:
            stream = bare if tls is None else tls.wrap_socket(bare, server_hostname="127.0.0.1")
            stream.sendall(PREFACE)
            return stream.recv(64)
        except (ssl.SSLError, ConnectionError):
            return b""


def calling(authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2"])
    return context


def test_a_cluster_with_tls_is_driven_as_any_other_and_takes_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, certificate, key = issued(tmp_path / "tls", "127.0.0.1")
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    tls = {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(certificate),
        "RAY_TLS_SERVER_KEY": str(key),
        "RAY_TLS_CA_CERT": str(authority),
    }
    for name, value in (ray.environment(token) | tls).items():
        monkeypatch.setenv(name, value)
    temp_dir, port, log = ray.make_temp_dir(), free_port(), tmp_path / "log"
    head = ray.start(port, temp_dir, log, gpus=2)
    try:
        ray.wait_ready(head, port, temp_dir, log=log)
        driver = [sys.executable, "-c", DRIVER, f"127.0.0.1:{port}"]
        done = subprocess.run(driver, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout == "2.0 42 ['one']\n", done.stderr

        ours = calling(authority)
        ours.load_cert_chain(certificate, key)
        assert heard(port, ours)[3:4] == b"\x04", "SETTINGS: a node with a certificate is answered"
        strangers = calling(authority)
        strangers.load_cert_chain(*issued(tmp_path / "other", "127.0.0.1")[1:])
        for stranger in (calling(authority), strangers, None):
            assert heard(port, stranger) == b""
    finally:
        ray.stop(head, temp_dir)
        shutil.rmtree(temp_dir, ignore_errors=True)
