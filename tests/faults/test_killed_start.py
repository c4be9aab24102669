"""`kill -9` of whoever starts a part of the local stack, at any moment of it: the next start needs no hands."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from orchestrator.local import process, ray
from orchestrator.local.parts import S3, Postgres, RayHead, StackPart
from orchestrator.local.process import ProcessId
from orchestrator.local.secrets import Secrets
from orchestrator.local.state import StateFile
from orchestrator.local.supervisor import Supervisor
from tests.support.sockets import free_port
from tests.support.stack import data_dirs

_PRIVATE = Secrets(**{secret.name: "test" for secret in fields(Secrets)} | {"master_key": "m" * 32})


def _database(directory: Path) -> StackPart:
    return Postgres(directory=directory / "postgres", port=free_port(), log=directory / "log", secrets=_PRIVATE)


def _objects(directory: Path) -> StackPart:
    return S3(directory=directory / "s3", port=free_port(), log=directory / "log", secrets=_PRIVATE)


@pytest.fixture(params=[_database, _objects], ids=["database", "s3"])
def part(request: pytest.FixtureRequest) -> Iterator[StackPart]:
    """A real part whose first start has been done and undone: what is made once is there."""
    with data_dirs() as directory:
        made: StackPart = request.param(directory)
        identity = made.start("")
        made.wait_ready(identity)
        made.stop(identity)
        yield made


@pytest.fixture
def state(part: StackPart) -> Iterator[Path]:
    """Where the part's supervisors keep their notes; what they leave running ends with the test."""
    path = part.log.with_name("stack.json")
    yield path
    Supervisor(StateFile(path), print).adopt([part])
    Supervisor(StateFile(path), print).take_down([part])


def test_a_part_that_was_started_and_not_noted_is_found_by_its_mark(part: StackPart, state: Path) -> None:
    _kill_who_starts(part, state, at=(StateFile, "started"))
    notes = StateFile(state).state
    assert part.name not in notes.parts
    [orphan] = filter(process.leads, process.marked(notes.starting[part.name]))
    part.wait_ready(ProcessId.of(orphan.pid))
    assert _start_again(part, state) == ProcessId.of(orphan.pid)


def test_a_part_that_was_noted_and_not_ready_is_adopted_or_replaced(part: StackPart, state: Path) -> None:
    _kill_who_starts(part, state, at=(type(part), "wait_ready"))
    noted = StateFile(state).state.parts[part.name]
    assert noted.process() is not None
    assert _start_again(part, state) == noted or noted.process() is None


def test_a_ray_that_was_still_starting_is_no_other_program_on_its_port() -> None:
    with data_dirs() as directory:
        temp_dir = ray.make_temp_dir()
        head = RayHead(temp_dir=temp_dir, gpus=1, port=free_port(), log=directory / "log")
        state = directory / "stack.json"
        try:
            _kill_who_starts(head, state, at=(RayHead, "wait_ready"))
            noted = StateFile(state).state.parts["ray"]
            assert process.wait_until_listening(head.port, noted, timeout_s=30)
            assert _start_again(head, state) == noted or noted.process() is None
        finally:
            Supervisor(StateFile(state), print).take_down([head])
            shutil.rmtree(temp_dir)


def test_a_ray_of_another_number_of_gpus_is_replaced() -> None:
    with data_dirs() as directory:
        temp_dir = ray.make_temp_dir()
        small = RayHead(temp_dir=temp_dir, gpus=1, port=free_port(), log=directory / "log")
        large = replace(small, gpus=2)
        state = directory / "stack.json"
        try:
            Supervisor(StateFile(state), print).bring_up([small])
            first = StateFile(state).state.parts["ray"]
            assert _start_again(small, state) == first
            assert _start_again(large, state) != first
            assert first.process() is None
        finally:
            Supervisor(StateFile(state), print).take_down([large])
            shutil.rmtree(temp_dir)


def test_a_mark_that_no_process_got_is_forgotten(part: StackPart, state: Path) -> None:
    _kill_who_starts(part, state, at=(type(part), "start"))
    assert part.name in StateFile(state).state.starting
    _start_again(part, state)


def _kill_who_starts(part: StackPart, state: Path, *, at: tuple[type, str]) -> None:
    """Start the part from another process, and `kill -9` that one when it has come to this method."""
    fork = multiprocessing.get_context("fork")
    there = fork.Event()

    def hang(*_: object) -> None:
        there.set()
        time.sleep(60)

    def start() -> None:
        setattr(*at, hang)
        Supervisor(StateFile(state), print).bring_up([part])

    starter = fork.Process(target=start)
    starter.start()
    assert there.wait(30)
    starter.kill()
    starter.join()


def _start_again(part: StackPart, state: Path) -> ProcessId:
    """What `cogmill up` does about one part; the part's process, which serves."""
    notes = StateFile(state)
    supervisor = Supervisor(notes, print)
    supervisor.adopt([part])
    supervisor.refuse_taken_ports([part])
    supervisor.bring_up([part])
    assert notes.state.starting == {}
    assert part.healthy(notes.state.parts[part.name])
    return notes.state.parts[part.name]
