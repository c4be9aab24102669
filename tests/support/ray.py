"""A Ray head with two logical GPUs per test session, and pools in namespaces of their own."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.local import ray
from tests.support.sockets import free_port

if TYPE_CHECKING:
    from workers.pool import RayWorkerPool


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a head that this session started."""
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
    head = ray.start(port, temp_dir, log, gpus=2)
    try:
        ray.wait_ready(head, port, temp_dir, log=log)
        yield f"127.0.0.1:{port}"
    finally:
        ray.stop(head, temp_dir)
        shutil.rmtree(temp_dir, ignore_errors=True)
        patch.undo()


@asynccontextmanager
async def joined(address: str) -> AsyncIterator[RayWorkerPool]:
    """A pool in a fresh namespace of the head at `address`; its workers end with the block."""
    # Ray reads its token's place and its network when it is imported, so not before the head's fixture has set them.
    from workers.pool import RayWorkerPool

    pool = RayWorkerPool.connect(address, f"test-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield pool
    finally:
        for name in await pool.list_workers():
            await pool.kill(name, restart=False)
        pool.close()
