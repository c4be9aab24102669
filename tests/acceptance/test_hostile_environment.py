"""A stack starts and renders whatever the shell is set up for, and its doctor finds it healthy there."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.support.stack import COGMILL, Up, one_model, wait_for

# Where every proxy leads: nobody answers there.
NOWHERE = "127.0.0.1:9"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy")
HOSTILE = {
    **dict.fromkeys(PROXIES, f"http://{NOWHERE}"),
    "AWS_PROFILE": "nobody",
    "AWS_DEFAULT_PROFILE": "nobody",
    "AWS_ENDPOINT_URL": f"http://{NOWHERE}",
    "AWS_ENDPOINT_URL_S3": f"http://{NOWHERE}",
    "AWS_CA_BUNDLE": "/nowhere/ca.pem",
    "AWS_CONFIG_FILE": "/nowhere/config",
    "AWS_SESSION_TOKEN": "of another account",
    "AWS_ACCESS_KEY_ID": "another",
    "AWS_SECRET_ACCESS_KEY": "another",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "RAY_ADDRESS": NOWHERE,
    "RAY_NAMESPACE": "another",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "another",
    "RAY_RUNTIME_ENV_HOOK": "no.such.module.hook",
    "PGHOST": "/nowhere",
    "PGPORT": "1",
    "PGUSER": "another",
    "PGPASSWORD": "another",
    "PGSERVICE": "another",
    "PGOPTIONS": "-c search_path=nowhere",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/nowhere/root.pem",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGDATA": "/nowhere",
    "PYTHONSTARTUP": "/nowhere.py",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "ascii",
    "PYTHONINSPECT": "1",
    "PYTHONSAFEPATH": "1",
    "RCLONE_ADDR": "127.0.0.1:1",
    "WEB_CONCURRENCY": "4",
    "LANG": "C",
    "LC_ALL": "C",
}


def test_a_stack_renders_in_a_hostile_environment(
    seeded_data_dir: Callable[[str], Path], tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    models = one_model(tmp_path, tiny_checkpoint("tiny-2b"), "tiny-2b")
    environment = {name: value for name, value in os.environ.items() if name != "HOME"} | HOSTILE
    with socket.create_server(("127.0.0.1", 0)) as proxy:  # one that swallows what comes
        environment |= {"HTTP_PROXY": f"http://127.0.0.1:{proxy.getsockname()[1]}"}
        stack = Up.start(
            seeded_data_dir("hostile"), "--port", "0", "--models", str(models), env=environment, umask=0o077
        )
        try:
            with httpx.Client(
                base_url=stack.ready["api"],
                headers={"Authorization": f"Bearer {stack.ready['key']}"},
                timeout=30,
                trust_env=False,
            ) as client:
                created = client.post("/v1/videos", json={"prompt": "dawn", "num_inference_steps": 1, "num_frames": 9})
                video = wait_for(client, created.raise_for_status().json()["id"])
                assert client.get(f"/v1/videos/{video['id']}/content").raise_for_status().content[4:8] == b"ftyp"
            examined = subprocess.run(
                [*COGMILL, "doctor", "--data-dir", str(stack.data_dir)],
                env=environment, umask=0, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert examined.returncode == 0, examined.stdout
            assert "FAIL" not in examined.stdout
        finally:
            stack.end()
