"""Which parts of a developer's stack start again when a file is saved: no fewer than have imported it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from threading import Event, Thread

import pytest

from orchestrator.local import reloading
from orchestrator.local.parts import S3
from orchestrator.local.process import ProcessId
from orchestrator.local.reloading import CONTROL_PLANE, EVERYTHING, Reloading, stale
from orchestrator.local.secrets import Secrets
from orchestrator.local.state import StateFile
from orchestrator.local.supervisor import Supervisor
from tests.support.sockets import free_port
from tests.support.sources import ROOT, trees
from tests.support.sources import imports as imported
from tests.support.stack import data_dirs

_PRIVATE = Secrets(**{secret.name: "test" for secret in fields(Secrets)} | {"master_key": "m" * 32})


@pytest.mark.parametrize(
    ("saved", "parts"),
    [
        ("api/openai/videos.py", {"api", "maintain"}),
        ("orchestrator/store/claim.py", CONTROL_PLANE),
        ("orchestrator/domain/job.py", EVERYTHING),
        ("workers/engine/loop.py", {"dispatch", "ray"}),
        ("workers/modelfiles/locate.py", EVERYTHING),
    ],
)
def test_a_saved_file_makes_those_stale_that_have_imported_it(saved: str, parts: set[str]) -> None:
    assert stale(Path(saved)) == parts


def test_no_worker_imports_what_is_said_to_need_no_new_ones() -> None:
    sources = {_module(path): path for path, _ in trees("orchestrator", "workers")}
    waiting = [name for name in sources if name.startswith("workers.")]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in sources and name not in reached:
            reached.add(name)
            waiting += [*imported(sources[name]), name.rpartition(".")[0]]
    folders = {name.split(".")[1] for name in reached if name.startswith("orchestrator.")}
    assert all("ray" in stale(Path("orchestrator", folder, "a.py")) for folder in folders)
    assert "domain" in folders


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of source that a test may save into."""
    for package in reloading.PACKAGES:
        (tmp_path / package).mkdir()
    monkeypatch.setattr(reloading, "SOURCE", tmp_path)
    return tmp_path


@pytest.fixture
def objects() -> Iterator[S3]:
    with data_dirs() as directory:
        yield S3(directory=directory / "s3", port=free_port(), log=directory / "log", secrets=_PRIVATE)


def test_a_part_whose_source_is_saved_starts_again(source: Path, objects: S3) -> None:
    notes = StateFile(objects.log.with_name("stack.json"))
    said: list[str] = []
    supervisor, ended = Supervisor(notes, said.append), Event()
    supervisor.bring_up([objects])
    first = notes.state.parts["s3"]
    watching = Reloading(ended)

    def outdated() -> set[str]:
        return {"s3"} if "api" in watching() else set()  # of all parts the one that needs no database stands for it

    loop = Thread(target=supervisor.watch, args=([objects],), kwargs={"until": ended, "stale": outdated})
    loop.start()
    try:
        deadline = time.monotonic() + 60
        while not said and time.monotonic() < deadline:
            (source / "api/app.py").touch()  # again, should the first have come before the watch
            time.sleep(0.3)
        while not objects.healthy(_known(notes)) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        ended.set()
        loop.join()
    try:
        assert said[0] == "s3 is being started again: its source has changed"
        assert first.process() is None
        assert objects.healthy(_known(notes))
    finally:
        supervisor.take_down([objects])


def _known(notes: StateFile) -> ProcessId:
    return notes.state.parts.get("s3", ProcessId(0, 0.0))
