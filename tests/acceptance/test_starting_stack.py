"""How a stack starts or refuses to, and what the demo leaves."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

from orchestrator.local.state import State
from tests.support.stack import cogmill, data_dirs


def test_a_taken_port_is_one_line_that_names_it_and_who_wanted_it(seeded_data_dir: Callable[[str], Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = cogmill("up", "--data-dir", seeded_data_dir("refused"), "--port", str(port))
    assert refused.returncode == 2
    assert refused.stderr == f"cogmill: port {port} is taken by another program, and the stack's api needs it\n"


def test_the_demo_leaves_a_checked_video_and_nothing_running() -> None:
    with data_dirs() as directory:
        done = cogmill("demo", "--data-dir", directory / "data", "--out", directory / "out")
        assert done.returncode == 0, done.stderr
        (mp4,) = (directory / "out").glob("*.mp4")
        (thumbnail,) = (directory / "out").glob("*.webp")
        for path in (mp4, thumbnail):
            assert str(path) in done.stdout
            assert f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in done.stdout
        assert f"{mp4.stat().st_size} bytes, 96x64, 32 frames, 8 fps" in done.stdout
        assert State.from_json((directory / "data" / "stack.json").read_text()).parts == {}
