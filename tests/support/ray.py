"""A Ray head with a few logical GPUs per test session, and pools in namespaces of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from orchestrator.local import ray
from orchestrator.local.process import ProcessId
from tests.support.sockets import free_port

if TYPE_CHECKING:
    from workers.cluster import RayWorkers


GPUS = 4


# Whose collection imported Ray: the node's id, empty when it was there before.
_came_with: list[str] = []


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if "ray" in sys.modules and not _came_with:
        _came_with.append(report.nodeid)


@pytest.fixture(scope="session")
def ray_came_with() -> list[str]:
    """Of the files that this process collected, the first that imported Ray."""
    return _came_with


@dataclass(frozen=True)
class Head:
    """A Ray head at `address` (`host:port`)."""

    address: str
    id: ProcessId
    temp_dir: Path

    def named(self, title: str) -> list[psutil.Process]:
        """Its actors' processes of that title: what Ray calls one while it does something, or nothing."""
        return [process for process in ray.family(self.id, self.temp_dir) if title in "".join(process.cmdline())]


@pytest.fixture(scope="session")
def ray_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head that this session started."""
    directory = tmp_path_factory.mktemp("ray")
    token = directory / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    patch = pytest.MonkeyPatch()
    for name, value in ray.environment(token).items():
        patch.setenv(name, value)
    temp_dir: Path = ray.make_temp_dir()
    log = directory / "ray.log"
    port = free_port()
    head = ray.start(port, temp_dir, log, gpus=GPUS)
    try:
        ray.wait_ready(head, port, temp_dir, log=log)
        yield Head(f"127.0.0.1:{port}", head, temp_dir)
    finally:
        ray.stop(head, temp_dir)
        shutil.rmtree(temp_dir, ignore_errors=True)
        patch.undo()


@pytest.fixture(scope="session")
def ray_address(ray_head: Head) -> str:
    """`host:port` of that head."""
    return ray_head.address


@asynccontextmanager
async def joined(address: str, namespace: str | None = None) -> AsyncIterator[RayWorkers]:
    """A pool in a namespace of the head at `address`, a fresh one by default; its workers end with the block."""
    # Ray reads its token's place and its network when it is imported, so not before the head's fixture has set them.
    from workers.cluster import RayWorkers

    pool = RayWorkers.connect(address, namespace or f"test-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield pool
    finally:
        for name in await pool.list_workers():
            await pool.kill(name, restart=False)
        pool.close()
