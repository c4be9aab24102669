"""README's three lines for real weights, run as they are printed, against a Hub that has a small CogVideoX-2b."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from orchestrator.domain.catalog import COGVIDEOX_2B
from orchestrator.local import portbook
from orchestrator.local.process import kill_all
from orchestrator.local.state import StateFile
from tests.support.hub import hub
from tests.support.published import PUBLISHED
from tests.support.published_files import small, write
from tests.support.stack import Up, data_dirs, wait_for

README = (Path(__file__).parents[2] / "README.md").read_text()
CHAPTER = README.partition("\n## Real weights in three lines\n")[2].partition("\n## ")[0]
(LINES,) = re.findall(r"^```sh\n(.*?)^```$", CHAPTER, re.DOTALL | re.MULTILINE)
MODEL = PUBLISHED["cogvideox-2b"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory like a clone after `make`: `.venv/bin/cogmill` is there. Its stack has ports that are free."""
    with data_dirs() as directory:
        (directory / ".venv" / "bin").mkdir(parents=True)
        (directory / ".venv" / "bin" / "cogmill").symlink_to(Path(sys.executable).with_name("cogmill"))
        (directory / ".cogmill").mkdir(mode=0o711)
        ports = portbook.choose({}, api=0, free=portbook.bindable)
        StateFile(directory / ".cogmill" / "stack.json").keep_ports(asdict(ports))
        yield directory


@contextmanager
def running(line: str, place: Path, endpoint: str) -> Iterator[dict[str, str]]:
    """What the line printed when its stack was ready: the URL of the API, the key."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "COGMILL_MODELS_CACHE": str(place / "cache")}
    log = place / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=place, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdout is not None
    told: list[str] = []
    try:
        for said in process.stdout:
            told.append(said)
            if said.startswith("Ctrl-C"):
                break
        greeting = "".join(told)
        found = re.search(r"API +(?P<api>\S+).*?key +(?P<key>\S+)", greeting, re.DOTALL)
        assert found is not None, log.read_text()
        yield found.groupdict()
    finally:
        family = Up(process, place / ".cogmill", {}).family()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        kill_all(family)


@pytest.mark.timeout(400)
def test_the_three_lines_bring_a_published_model_from_the_hub_and_render_with_it(place: Path) -> None:
    """In the published layout, at a small size: only so can a machine without a GPU render it, at its own 720x480."""
    original = write(MODEL, place / "hub", small(MODEL, COGVIDEOX_2B, channels=2))
    files = {path.relative_to(original).as_posix(): path.read_bytes() for path in original.rglob("*") if path.is_file()}
    first, second, third = LINES.splitlines()
    for line in (first, second):
        subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=place, check=True)
    assert f'source = "hf://{MODEL.repo}"' in (place / "models.toml").read_text()
    with hub(MODEL.repo, files) as (endpoint, asked), running(third, place, endpoint) as stack:
        client = httpx.Client(base_url=stack["api"], headers={"Authorization": f"Bearer {stack['key']}"}, timeout=30)
        with client:
            body: dict[str, Any] = {"prompt": "a watermill turning at dawn", "num_frames": 9, "num_inference_steps": 1}
            created = client.post("/v1/videos", json=body).raise_for_status().json()
            video = wait_for(client, created["id"], within_s=300)
            content = client.get(f"/v1/videos/{video['id']}/content", follow_redirects=True).raise_for_status()
        assert "tokenizer/spiece.model" in asked
        assert not {name for name in asked if name in MODEL.documents}
    (place / "video.mp4").write_bytes(content.content)
    with av.open(place / "video.mp4") as opened:
        (stream,) = opened.streams.video
        assert (stream.width, stream.height, stream.frames) == (720, 480, 9)
