"""A Ray head whose autoscaler starts nodes: processes on this machine, by Ray's own fake provider."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestrator.local import process, ray
from tests.support.ray import Head
from tests.support.sockets import free_port

_EMPTY_LISTS = (
    "cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands",
    "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude", "rsync_filter",
)  # fmt: skip


@contextmanager
def autoscaling(directory: Path, kinds: Mapping[str, Mapping[str, float]], *, most: int) -> Iterator[Head]:
    """A head without GPUs, and up to `most` nodes of each of these types, which have the resources that they are said.

    A node that is idle for six seconds goes. The token of `tests.support.ray` must have been set.
    """
    port, temp_dir, log = free_port(), ray.make_temp_dir(), directory / "ray.log"
    types = {
        name: {"resources": dict(resources), "node_config": {}, "min_workers": 0, "max_workers": most}
        for name, resources in kinds.items()
    }
    head_type = {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0}
    config = {
        "cluster_name": "fake",
        "max_workers": most * len(kinds),
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{port}",
            "use_node_id_as_ip": True,  # all have the same address
            "disable_node_updaters": True,  # there is nobody to log in to
            "disable_launch_config_check": True,
        },
        "auth": {"ssh_user": "root"},
        "available_node_types": {**types, "ray.head.default": head_type},
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{key: [] for key in _EMPTY_LISTS},
    }
    path = directory / "autoscaling.json"
    path.write_text(json.dumps(config))
    arguments = [
        "start", "--head", "--block", f"--port={port}", f"--temp-dir={ray.sessions_in(temp_dir)}",
        f"--autoscaling-config={path}",
        "--num-gpus=0", "--num-cpus=1", f"--object-store-memory={75 * 2**20}", "--min-worker-port=0",
        "--max-worker-port=0", "--include-dashboard=false", "--include-log-monitor=false", "--disable-usage-stats",
    ]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(temp_dir), "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    started = process.spawn([Path(sys.executable).with_name("ray"), *arguments], log=log, mark="", env=env)
    try:
        ray.wait_ready(started, port, temp_dir, log=log)
        yield Head(f"127.0.0.1:{port}", started, temp_dir)
    finally:
        ray.stop(started, temp_dir)
        shutil.rmtree(temp_dir, ignore_errors=True)
