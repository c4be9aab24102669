"""A pod that Kubernetes stops: its node drains, and its workers hand back what they render before they are killed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.protocol import HandedBack
from orchestrator.local import ray
from tests.support.bench import Bench
from tests.support.ray import Head, joined
from tests.support.s3 import S3Server
from tests.support.sockets import free_port
from tests.support.workers import a_plan


@pytest.mark.usefixtures("ray_head")  # for the token that all heads of this process share
async def test_renders_are_handed_back_when_the_node_is_told_to_go(
    tiny_checkpoint: Callable[[str], Path], s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "60")
    temp_dir, port, log = ray.make_temp_dir(), free_port(), tmp_path / "ray.log"
    head = ray.start(port, temp_dir, log, gpus=1)
    node = Head(f"127.0.0.1:{port}", head, temp_dir)
    try:
        ray.wait_ready(head, port, temp_dir, log=log)
        async with joined(node.address) as pool:
            bench = Bench(pool, a_plan("tiny-2b", tiny_checkpoint("tiny-2b"), s3_server.new_bucket()))
            await bench.fresh()
            assignment = await bench.started(steps=900)
            (worker,) = node.named("ray::HostedRenderActor")
            os.kill(head.pid, signal.SIGTERM)
            render = await bench.ended(assignment)
            assert isinstance(render.end, HandedBack)
            assert render.end.checkpoint is not None
            await bench.pool.forget(bench.name, bench.caller, assignment.token)
            worker.wait(timeout=10)  # it goes by itself, long before Ray kills it
    finally:
        ray.stop(head, temp_dir)
        shutil.rmtree(temp_dir, ignore_errors=True)
