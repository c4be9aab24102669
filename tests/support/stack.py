"""A real `cogmill up --json` for tests that need the whole stack: one per session, and more for those that kill it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from orchestrator.local import ray
from orchestrator.local.layout import DataDir
from orchestrator.local.process import kill_all
from orchestrator.local.state import State
from orchestrator.store import Store
from orchestrator.tenants import keys
from tests.support.collector import Collector

COGMILL = [sys.executable, "-m", "orchestrator.cli"]
START_S = 120


@dataclass
class Up:
    """One run of `cogmill up --json`, and the line of JSON that it printed when it was ready."""

    process: subprocess.Popen[str]
    data_dir: Path
    ready: dict[str, Any]
    # The collector of its traces.
    traces_to: str | None = None

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        umask: int = -1,
        traces_to: str | None = None,
    ) -> Up:
        """With 127.0.0.1 open to what users name: there the tests' own servers stand. `env` replaces the shell's."""
        environment = {**(os.environ if env is None else env), "COGMILL_FETCH__ALLOW_NETWORKS": '["127.0.0.0/8"]'}
        if traces_to is not None:
            environment |= {"COGMILL_TRACING__ENDPOINT": traces_to, "OTEL_BSP_SCHEDULE_DELAY": "500"}
        with (data_dir.parent / f"{data_dir.name}.stderr").open("a+") as stderr:
            command = [*COGMILL, "up", "--json", "--data-dir", str(data_dir), *arguments]
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, umask=umask
            )
            watchdog = threading.Timer(START_S, process.kill)
            watchdog.start()
            assert process.stdout is not None
            line = process.stdout.readline()
            watchdog.cancel()
            stderr.seek(0)
            assert line, f"cogmill up ended without a line: {stderr.read()}"
        return cls(process, data_dir, json.loads(line), traces_to)

    def start_again(self) -> None:
        """Run `cogmill up` on this directory again, in place of the run that has ended."""
        again = Up.start(self.data_dir, traces_to=self.traces_to)
        self.process, self.ready = again.process, again.ready

    @property
    def state(self) -> State:
        return State.from_json((self.data_dir / "stack.json").read_text())

    def client(self, **headers: str) -> httpx.Client:
        """A client of the API with the stack's key."""
        authorization = {"Authorization": f"Bearer {self.ready['key']}", **headers}
        return httpx.Client(base_url=self.ready["api"], headers=authorization, timeout=30)

    def key(self, tenant: str) -> str:
        """A key of a tenant, as `cogmill keys create` makes it: a process of its own would cost two seconds of CPU."""
        told = tomllib.loads(DataDir(self.data_dir).config.read_text("utf-8"))
        whole = keys.issue(told["master_key"], key_id := keys.new_id())

        async def add() -> None:
            async with Store.open(told["database_url"], connections=1) as store:
                await store.add_key(key_id, tenant, "tests", master=1)

        asyncio.run(add())
        return whole

    def kill(self) -> None:
        """`kill -9` of `cogmill up` alone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; the exit code, and what it printed after the first line."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest

    def end(self) -> None:
        """Whatever state it is in, nothing of it runs afterwards."""
        family = self.family()
        if self.process.poll() is None:
            self.stop()
        kill_all(family)

    def family(self) -> list[psutil.Process]:
        """Every living process of the stack's parts: their sessions, and PostgreSQL's backends, which leave theirs."""
        members = [member for identity in self.state.parts.values() for member in ray.session(identity.pid)]
        return members + [child for member in members for child in member.children(recursive=True)]


def cogmill(*arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*COGMILL, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, check=False
    )


@contextmanager
def data_dirs() -> Iterator[Path]:
    """A directory to put data directories in, where PostgreSQL's unprivileged user may go; removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="cogmill-test-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def wait_for(
    client: httpx.Client,
    video_id: str,
    *,
    status: str = "completed",
    within_s: float = 90,
    seen: Callable[[dict[str, Any]], object] = lambda video: None,
) -> dict[str, Any]:
    """Poll a video of the OpenAI dialect, showing each answer to `seen`, until it has this status and no other end."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        video: dict[str, Any] = client.get(f"/v1/videos/{video_id}").raise_for_status().json()
        seen(video)
        if video["status"] == status:
            return video
        assert video["status"] not in ("failed", "completed"), video
        time.sleep(0.2)  # an answer costs the API and its client ten milliseconds of CPU, and renders need it
    raise AssertionError(f"{video_id} was not {status} within {within_s} s")


def one_model(directory: Path, checkpoint: Path, family: str) -> Path:
    """A file for `cogmill up --models`: one pool of one worker, which starts in a third of the time of three."""
    models = directory / "one.toml"
    models.write_text(
        f'default_model = "{family}"\n'
        f'[models.{family}]\nfamily = "{family}"\nsource = {json.dumps(str(checkpoint))}\n'
        f'[pools.main]\nmodel = "{family}"\n'
    )
    return models


@pytest.fixture(scope="session")
def seeded_data_dir(tiny_checkpoint: Callable[[str], Path]) -> Iterator[Callable[[str], Path]]:
    """Makes data directories that have the tiny checkpoints already, which spares every stack ten seconds."""
    with data_dirs() as parent:

        def make(name: str) -> Path:
            root = parent / name
            for family in ("tiny-2b", "tiny-5b", "tiny-5b-i2v"):
                checkpoint = tiny_checkpoint(family)
                shutil.copytree(checkpoint, root / "models" / checkpoint.name)
            root.chmod(0o711)
            return root

        yield make


_SHARED = pytest.StashKey[Up]()


@pytest.fixture(scope="session")
def _shared_stack(
    request: pytest.FixtureRequest, seeded_data_dir: Callable[[str], Path], collector: Collector
) -> Iterator[Up]:
    running = Up.start(seeded_data_dir("shared"), "--port", "0", traces_to=collector.url)
    request.config.stash[_SHARED] = running
    try:
        yield running
    finally:
        running.end()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A folder's last test stops the session's stack: a tenth of a core is for the other tests again."""
    running = item.config.stash.get(_SHARED, None)
    leaves = nextitem is not None and nextitem.path.parent != item.path.parent
    if leaves and running is not None and running.process.poll() is None:
        running.end()


@pytest.fixture(scope="module")
def stack(_shared_stack: Up) -> Up:
    """The session's stack. A module's last test may stop it: the next module finds it started again."""
    if _shared_stack.process.poll() is not None:
        _shared_stack.start_again()
    return _shared_stack
