"""Why a job waits, in words for its owner; and how long a worker that cannot load rests."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.job import Job
from orchestrator.domain.loading import NO_TROUBLE, LoadState, WorkerLoad, reason_of
from orchestrator.domain.pausing import EVERY, Pause
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import MOST_AHEAD, Turn, queue_reason, turn_reason, unserved
from orchestrator.intake.waiting import Known, Waiting
from orchestrator.ports.fleet import KindState
from tests.support.builders import a_spec

LOADED = WorkerLoad(worker="main-0", pool="main", model="cogvideox-2b", state=LoadState.LOADED)
LOADING = replace(LOADED, worker="main-1", state=LoadState.LOADING)
STARTING = replace(LOADED, worker="main-2", state=LoadState.STARTING)
BROKEN = replace(LOADED, worker="main-3", state=LoadState.BROKEN, failures=2, reason="no room")
PAUSE = Pause(pool="main", reason="S3 moves", paused_by="ada", paused_at=datetime(2026, 11, 28, tzinfo=UTC))
OTHERS = replace(PAUSE, pool="other")
ALL = replace(PAUSE, pool=EVERY, reason="a move")
QUEUED = Job(
    id=UUID(int=1), tenant="acme", pool="p", priority=10, state=JobState.QUEUED, spec=a_spec(), cost=1.0, request={},
    created_at=datetime(2026, 11, 28, tzinfo=UTC), started_at=None, finished_at=None, claims=0, failures=0, evictions=0,
    max_attempts=3, cancel_requested=False, stage=None, step=0, failure=None, result=None,
)  # fmt: skip
OVER = replace(PAUSE, resumed_by="ada", resumed_at=PAUSE.paused_at)


@pytest.mark.parametrize(
    ("loads", "reason"),
    [
        ([], None),
        ([replace(BROKEN, pool="other")], None),
        ([BROKEN, LOADING, LOADED], None),
        ([STARTING, BROKEN, LOADING], "no worker of pool main has loaded cogvideox-2b: no room"),
        ([STARTING, LOADING], "the workers of pool main are still loading cogvideox-2b"),
        ([STARTING], "no worker of pool main has started yet"),
    ],
)  # fmt: skip
def test_a_job_says_why_it_waits_unless_it_is_only_for_its_turn(loads: list[WorkerLoad], reason: str | None) -> None:
    for state in JobState:
        waits = state in (JobState.HELD, JobState.QUEUED)
        assert queue_reason(state, "main", loads) == (reason if waits else None)


@pytest.mark.parametrize(
    ("pauses", "reason"),
    [
        ([OVER], "no worker of pool main has loaded cogvideox-2b: no room"),
        ([OTHERS], "no worker of pool main has loaded cogvideox-2b: no room"),
        ([PAUSE, OTHERS], "pool main is paused: S3 moves"),
        ([ALL], "the whole queue is paused: a move"),
        ([PAUSE, ALL], "the whole queue is paused: a move"),
    ],
)
def test_a_pause_is_why_a_job_waits_whatever_else_there_is(pauses: list[Pause], reason: str) -> None:
    for state in JobState:
        waits = state in (JobState.HELD, JobState.QUEUED)
        assert queue_reason(state, "main", [BROKEN], pauses) == (reason if waits else None)
    assert unserved(["main"], [BROKEN], pauses) == reason


def test_a_model_that_one_open_pool_renders_is_served() -> None:
    loads = [BROKEN, replace(LOADED, pool="other")]
    assert unserved(["main", "other"], loads, [PAUSE]) is None
    assert unserved(["main", "other"], loads, [OTHERS]) == "no worker of pool main has loaded cogvideox-2b: no room"
    assert unserved(["main", "other"], loads, [PAUSE, OTHERS]) == "pool main is paused: S3 moves"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("ConfigError: /mnt/models/a is not whole: vae has no safetensors", "its files are not whole"),
        ("IntegrityError: hf://acme/secret: what comes is not what was announced", "its files are not whole"),
        ("ConfigError: s3://b/p cannot be fetched: S3 does not answer", "its files cannot be fetched"),
        ("ScratchUnavailable: models_cache /var/x: No space left on device", "the disk of its node is full"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "there is not enough memory"),
        ("ConfigError: /mnt/x needs 22 GiB of host memory, and 8 are free", "there is not enough memory"),
        ("MemoryError: ", "there is not enough memory"),
        ("ValueError: /usr/lib/python3/site.py line 4: no", "loading it fails"),
    ],
)
def test_the_reason_for_callers_names_no_path_and_no_host(said: str, reason: str) -> None:
    told = reason_of(said)
    assert told.startswith(reason)
    assert "/" not in told


def test_a_worker_that_cannot_load_rests_longer_each_time_up_to_ten_minutes() -> None:
    trouble, rests = NO_TROUBLE, []
    for now in range(10):
        trouble = trouble.failed("it breaks", "ValueError:  it\n breaks", float(now))
        rests.append(trouble.rests_until - now)
    assert rests == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert (trouble.failures, trouble.detail) == (10, "ValueError: it breaks")


def test_a_process_that_dies_while_loading_is_counted_aloud() -> None:
    once = NO_TROUBLE.died("SIGKILL", 0)
    assert once.reason == "its process died while loading it; often that is a lack of memory"
    assert (
        once.died("SIGKILL", 0)
        .died("SIGKILL", 0)
        .reason.startswith("its process died while loading it, 3 times in a row;")
    )


def test_a_job_whose_model_no_worker_holds_says_so_and_when_one_gets_it() -> None:
    unheld = {"main": 42.4, "coming": None}
    elsewhere = [replace(LOADED, pool="five")]
    for pool, words in (
        ("main", "no worker holds the model of pool main now: one is taken within 42 s"),
        ("coming", "no worker holds the model of pool coming now: a worker that ends another's is given it"),
        ("five", None),
    ):
        assert queue_reason(JobState.QUEUED, pool, elsewhere, (), unheld) == words
    assert queue_reason(JobState.QUEUED, "main", elsewhere, [PAUSE], unheld) == "pool main is paused: S3 moves"
    # A worker of its own, or the one that it was given, says more.
    starting = [*elsewhere, STARTING]
    assert queue_reason(JobState.QUEUED, "main", starting, (), unheld) == "no worker of pool main has started yet"
    assert queue_reason(JobState.RUNNING, "main", elsewhere, (), unheld) is None
    # For one that is held no worker is taken.
    assert queue_reason(JobState.HELD, "main", elsewhere, (), unheld) is None
    # Of a campaign's pools all must be without one.
    words = "no worker holds the model of pool main now: one is taken within 42 s"
    assert (
        unserved(["main"], elsewhere, [], unheld) == unserved(["main", "other"], elsewhere, [OTHERS], unheld) == words
    )
    assert unserved(["main", "five"], elsewhere, [], unheld) is None


async def test_which_models_no_shared_worker_holds_is_read_from_what_dispatchers_tell() -> None:
    def state(pool: str, kind: str = "set", **said: Any) -> KindState:
        counts = dict.fromkeys(("wanted", "requested", "starting", "ready", "draining"), 0)
        return KindState(**{"cluster": "c", "pool": pool, "kind": kind, "why": ""} | counts | said)

    reader = Reader()
    reader.states = [
        state("held", wanted=1, ready=1), state("held", cluster="d"),
        state("cold", rests_s=90.0), state("cold", cluster="d", rests_s=60.0),
        state("coming", wanted=1, starting=1), state("coming", cluster="d", rests_s=5.0),
        state("of-kinds", kind="spot", rests_s=5.0),
        state("of-such-a-kind", rests_s=5.0),
    ]  # fmt: skip
    sets = dict.fromkeys(("held", "cold", "coming"), "set")
    assert (await Waiting(reader, sets).known()).unheld == {"cold": 60.0, "coming": None}
    assert (await Waiting(reader).known()).unheld == {}


async def test_one_that_is_not_due_waits_for_its_time_and_not_for_a_worker() -> None:
    reader = Reader()
    sets = {"p": "set"}
    reader.states = [KindState(
        cluster="c", pool="p", kind="set", wanted=0, requested=0, starting=0, ready=0, draining=0, why="", rests_s=90.0,
    )]  # fmt: skip
    waiting, later = Waiting(reader, sets), replace(QUEUED, ready=False)
    words = "no worker holds the model of pool p now: one is taken within 90 s"
    assert (await waiting.told(QUEUED)).queue_reason == words
    assert (await waiting.told(later)).queue_reason is None
    assert (await waiting.told_with_turn(QUEUED)).queue_reason == words
    assert (await waiting.told_with_turn(later)).queue_reason == "it is due in 40 s"


class Reader:
    """A store that may be away, or never answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = self.silent = False
        self.states: list[KindState] = []

    async def fleet(self) -> list[KindState]:
        return self.states

    async def worker_loads(self) -> list[WorkerLoad]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("gone")
        if self.silent:
            await asyncio.Event().wait()
        return [BROKEN]

    async def pauses(self) -> list[Pause]:
        return [PAUSE]

    async def turn(self, job_id: UUID) -> Turn:
        return replace(NEXT, due_in_s=40.2)

    async def campaign_turn(self, number: int) -> None:
        return None

    async def lane_outlook(self, pool: str, tenant: str, priority: int) -> None:
        return None


async def test_what_is_known_of_workers_is_read_seldom_and_survives_a_store_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.intake.waiting._PATIENCE_S", 0.01)
    reader, now = Reader(), [0.0]
    waiting = Waiting(reader, monotonic=lambda: now[0])
    known = Known([BROKEN], [PAUSE])
    assert await asyncio.gather(*(waiting.known() for _ in range(50))) == [known] * 50
    assert reader.asked == 1
    for reader.away, reader.silent in ((True, False), (False, True)):
        now[0] += 3
        assert await waiting.known() == known
    assert reader.asked == 3


NEXT = Turn(
    due_in_s=-3.0, running=0, most=None, running_here=0, most_here=None, ahead=0, ahead_s=0.0,
    more_urgent=0, had_less=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (NEXT, "its turn: it is next, when a worker is free"),
        (replace(NEXT, due_in_s=40.2, most=1, running=1), "it is due in 40 s"),
        (replace(NEXT, most=2, running=2, ahead=9), "its tenant runs 2 of the 2 videos that it may run at a time"),
        (
            replace(NEXT, most=9, running=2, most_here=1, running_here=1),
            "its tenant runs 1 of the 1 videos that it may run in this pool",
        ),
        (replace(NEXT, ahead=3, ahead_s=270.4), "its turn: before it go 3 of its own tenant's (270 GPU seconds)"),
        (
            replace(NEXT, ahead=MOST_AHEAD, ahead_s=1.0),
            "its turn: before it go 1000 or more of its own tenant's (1 GPU seconds)",
        ),
        (
            replace(NEXT, more_urgent=1, had_less=2),
            "its turn: before it go the more urgent videos of 1 other tenant, "
            "one or more of 2 tenants that had less of the pool",
        ),
        (
            replace(NEXT, lacking=1, had_less=1),
            "its turn: before it go 1 tenant below what the pool guarantees, "
            "one or more of 1 tenant that had less of the pool",
        ),
    ],
)
def test_what_must_change_first_is_what_it_waits_for(turn: Turn, words: str) -> None:
    assert turn_reason(turn) == words
