"""Real S3 for every test that asks: one rclone per session (or xdist worker), one fresh bucket per test."""

from __future__ import annotations

import itertools
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.local import process, s3
from orchestrator.local.process import ProcessId
from tests.support.sockets import free_port

ACCESS_KEY = "tests-access"
SECRET_KEY = "tests-only-secret"


@dataclass
class S3Server:
    """A running `rclone serve s3` that tests may kill and start again on the same port."""

    directory: Path
    port: int
    process: ProcessId
    _names: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def create(cls) -> S3Server:
        directory = Path(tempfile.mkdtemp(prefix="cogmill-s3-"))
        port = free_port()
        return cls(directory, port, _start(directory, port))

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    def kill(self) -> None:
        """End it as a crash would: nothing is flushed or finished."""
        process.stop(self.process, sig=signal.SIGKILL)

    def start(self) -> None:
        self.process = _start(self.directory, self.port)

    def remove(self) -> None:
        process.stop(self.process)
        shutil.rmtree(self.directory)

    def new_bucket(self, **changes: object) -> S3Settings:
        """Settings for a bucket that exists and is empty; short timeouts, so that a test of a fault is short too."""
        settings = S3Settings(
            endpoint_url=f"http://127.0.0.1:{self.port}",
            bucket=f"bucket-{next(self._names)}",
            access_key=ACCESS_KEY,
            secret_key=SecretStr(SECRET_KEY),
            connect_timeout_s=2,
            read_timeout_s=10,
            max_attempts=3,
            multipart_threshold_bytes=5 * 2**20,
        ).model_copy(update=changes)
        S3Objects(settings).ensure_bucket()
        return settings

    def file(self, settings: S3Settings, key: str) -> Path:
        """Where an object's bytes lie on the disk, for tests that damage them."""
        return self.data_dir / settings.bucket / key


def _start(directory: Path, port: int) -> ProcessId:
    server = s3.start(directory / "data", port, ACCESS_KEY, SECRET_KEY, directory / "log")
    s3.wait_ready(server, port, directory / "log")
    return server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Shared by a session's tests: leave it running."""
    server = S3Server.create()
    yield server
    server.remove()


@pytest.fixture
def own_s3_server() -> Iterator[S3Server]:
    """A server for one test, to be killed and restarted at will."""
    server = S3Server.create()
    yield server
    server.remove()


@pytest.fixture
def s3_settings(s3_server: S3Server) -> S3Settings:
    return s3_server.new_bucket()


@pytest.fixture
def objects(s3_settings: S3Settings) -> S3Objects:
    return S3Objects(s3_settings)
