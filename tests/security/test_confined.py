"""A confined child, taken over: it has nothing, reaches nothing, and takes no more than it may."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from orchestrator.confined.child import Answer, Child, Ended

MiB = 2**20
REFUSED = 1  # EPERM

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="filters are Linux's"
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Child]:
    child = Child("tests.security.hostile_child", {"memory": 64 * MiB, "seconds": 0})
    yield child
    child.end()


def tried(child: Child, attack: str, within_s: float = 30.0) -> Answer | Ended:
    return child.ask({"attack": attack}, within_s=within_s)


def test_it_has_no_secret_and_no_file_of_its_parents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hostile: Child
) -> None:
    monkeypatch.setenv("COGMILL_MASTER_KEY", "a" * 32)
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        hostile.end()
        assert tried(hostile, "nothing") == Answer({"error": None}, b"")
    own = Path(f"/proc/{hostile.pid}")
    names = {entry.split(b"=")[0].decode() for entry in (own / "environ").read_bytes().split(b"\0") if entry}
    assert names <= {
        "LC_ALL", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "ARROW_DEFAULT_MEMORY_POOL", "OMP_NUM_THREADS"
    }  # fmt: skip
    opened = sorted(str(number.readlink()).split(":")[0] for number in (own / "fd").iterdir())
    assert opened == ["/dev/null", "/dev/null", "pipe", "pipe"]
    assert (own / "cwd").readlink() == Path("/")


@pytest.mark.parametrize(
    "attack",
    [
        *("read the parent's environment", "read a file", "read a file under another's number", "write"),
        *("connect", "fork", "start a program", "signal the parent", "trace the parent", "change the parent's limits"),
    ],
)
def test_it_reaches_nothing(hostile: Child, attack: str) -> None:
    assert tried(hostile, "nothing") == Answer({"error": None}, b"")
    assert hostile.filtered
    assert tried(hostile, attack) == Answer({"error": REFUSED}, b"")


def test_it_gets_no_more_memory_than_it_may_have_and_is_replaced(hostile: Child) -> None:
    assert tried(hostile, "take memory") == Answer({"memory": True}, b"")
    assert hostile.pid is None
    assert tried(hostile, "nothing") == Answer({"error": None}, b"")


def test_the_system_ends_it_when_it_works_too_long_and_its_parent_when_it_says_nothing(hostile: Child) -> None:
    ended = tried(hostile, "spin")
    assert isinstance(ended, Ended)
    assert not ended.late
    tried(hostile, "nothing")
    assert hostile.pid is not None
    os.kill(hostile.pid, signal.SIGSTOP)
    ended = tried(hostile, "nothing", within_s=0.2)
    assert isinstance(ended, Ended)
    assert ended.late
    assert tried(hostile, "nothing") == Answer({"error": None}, b"")


def test_a_crash_is_an_answer_like_another(hostile: Child) -> None:
    assert tried(hostile, "crash") == Ended(late=False, fresh=False)
    assert tried(hostile, "crash") == Ended(late=False, fresh=True)
    assert tried(hostile, "nothing") == Answer({"error": None}, b"")


def test_a_child_that_nobody_could_end_in_time_is_not_kept(monkeypatch: pytest.MonkeyPatch, hostile: Child) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    hostile.end()
    before = psutil.Process().children()
    tried(hostile, "nothing")
    with monkeypatch.context() as few:
        few.setattr(threading.Thread, "start", none)
        for _ in ("one that runs", "one that would have to be started"):
            ended = tried(hostile, "nothing")
            assert ended == Ended(late=True, fresh=False)
            assert ended.blameless(30)
            assert psutil.Process().children() == before
    assert tried(hostile, "nothing") == Answer({"error": None}, b"")


@pytest.mark.parametrize(
    ("module", "settings", "error"),
    [
        ("tests.security.no_child", {}, "ModuleNotFoundError: No module named 'tests.security.no_child'"),
        ("tests.security.hostile_child", {"memory": MiB}, "KeyError: 'seconds'"),
        ("tests.security.hostile_child", {"memory": "much", "seconds": 0}, "TypeError: "),
    ],
    ids=["imports", "begins", "is confined"],
)
def test_why_a_child_does_not_start_is_in_the_log(module: str, settings: dict[str, object], error: str) -> None:
    with capture_logs() as logged:
        assert tried(Child(module, settings), "nothing") == Ended(late=True, fresh=False)
    (entry,) = logged
    assert (entry["event"], entry["error"][: len(error)]) == ("child_not_started", error)


PARENT = """
import sys, time
from orchestrator.confined.child import Child
child = Child("tests.security.hostile_child", {"memory": 2**26, "seconds": 0})
child.ask({"attack": "nothing"}, within_s=30)
print(child.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_child_whose_parent_is_gone_goes_too() -> None:
    own = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], env=own, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as parent:
        assert parent.stderr is not None
        child = psutil.Process(int(parent.stderr.readline()))
        assert not gone(child)
        parent.kill()
    until = time.monotonic() + 30
    while not gone(child):
        assert time.monotonic() < until, "it stays"
        time.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
