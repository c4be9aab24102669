"""Kill -9 of every part while four campaigns of three tenants go on: each row ends once, and all the books agree.

COGMILL_CRASH_ROWS is how many rows the campaigns have together; in CI few, by hand 20,000. `--seed` says which part is
killed in which phase; where there are many rows, parts are killed again and again while they run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import psutil
import pytest
from cogmill_client import ApiError, Campaign, Cogmill, ConnectionFailed

from orchestrator.domain.job import public_id
from orchestrator.local.process import kill_all
from tests.faults.test_stack_faults import SETTINGS, eventually, pid_of, workers
from tests.support.stack import Up, cogmill, one_model

T = TypeVar("T")

ROWS = int(os.environ.get("COGMILL_CRASH_ROWS", "40"))
# Records that are no rows: reading them takes as long as reading others, and costs no render.
BAD = 12_000
# The cheapest video that there is.
TINY = {"size": "64x64", "num_frames": 9, "num_inference_steps": 1}
PROMPT = "a {product} on a {scene}"
PARTS = ("api", "maintain", "dispatch", "worker", "database")
PHASES = ("ingest", "sampling", "running", "pausing", "finishing")
# What the budget of one campaign is for, by what a row is predicted to take before any was rendered: one of them has
# room, and not all, even where they take a tenth of it.
BUDGET_ROWS = 1.2
# From so many rows on, parts are killed all the time.
MANY = 200
# With an API that comes back: a part that dies again and again is started again after ever longer pauses.
PATIENCE_S = 60.0 if ROWS <= MANY else 300.0
# A row's share of this test's patience.
ROW_S = 3.0
# Between two kills of a long run.
LULL_S = (5.0, 25.0)


@pytest.fixture(scope="module")
def faulty(
    seeded_data_dir: Callable[[str], Path],
    tiny_checkpoint: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Up]:
    """A stack of this module's own, with short leases and two workers."""
    models = one_model(tmp_path_factory.mktemp("crashes"), tiny_checkpoint("tiny-2b"), "tiny-2b")
    models.write_text(models.read_text() + "workers = 2\n")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        running = Up.start(seeded_data_dir("crashes"), "--port", "0", "--models", str(models))
    try:
        yield running
    finally:
        family = running.family()
        running.stop()
        kill_all(family)


@dataclass
class Owner:
    """One campaign and whose it is. What it asks for, it asks for again until somebody answers."""

    cogmill: Cogmill
    tenant: str
    rows: int
    bad: int = 0
    id: str = ""
    # Seconds that each of its rows was predicted to take when it was made: what renders teach may change that.
    cost: float = 0.0
    # What was used when its budget had paused it, and what each job had taken by then.
    at_pause: tuple[float, dict[str, float]] | None = None

    def create(self, **asked: Any) -> None:
        data = csv_of(self.rows, self.bad)
        source = insist(lambda: self.cogmill.files.upload(data, purpose="batch", filename="rows.csv"))
        key = f"{self.tenant}-{time.monotonic_ns()}"
        made = insist(
            lambda: self.cogmill.campaigns.create(
                PROMPT, defaults=TINY, input=source.id, format="csv", idempotency_key=key, **asked
            )
        )
        self.id = made.id

    def now(self) -> Campaign:
        return insist(lambda: self.cogmill.campaigns.retrieve(self.id))

    def until(self, ready: Callable[[Campaign], bool], *, within_s: float = PATIENCE_S + 60) -> Campaign:
        deadline = time.monotonic() + within_s
        while not ready(campaign := self.now()):
            assert campaign.error is None, campaign.error
            assert time.monotonic() < deadline, campaign
            time.sleep(0.1)
        return campaign

    def steer(self, command: Callable[[], Any], done: Callable[[Campaign], bool]) -> None:
        """Give a command until it shows: an answer that was lost may have been a yes."""
        deadline = time.monotonic() + PATIENCE_S
        while not done(campaign := self.now()):
            assert time.monotonic() < deadline, campaign
            try:
                command()
            except (ApiError, ConnectionFailed):
                time.sleep(0.1)

    def finish(self) -> Campaign:
        """Wait for its end, and pay more whenever a budget is used up."""
        deadline = time.monotonic() + 90 + ROWS * ROW_S
        while not (campaign := self.now()).ended:
            assert time.monotonic() < deadline, campaign
            if "budget" in campaign.pause_reasons and not live(campaign):
                self._pay(campaign)
            time.sleep(0.5)
        tell(f"{self.tenant}'s campaign of {self.rows} rows is {campaign.state}")
        return campaign

    def _pay(self, campaign: Campaign) -> None:
        if campaign.budget is None:
            plan = insist(lambda: self.cogmill.campaigns.plan(self.id))
            self.steer(lambda: self.cogmill.campaigns.approve(self.id, plan.plan_token), not_out_of_money)
            return
        rows = insist(lambda: list(self.cogmill.campaigns.rows(self.id)))
        self.at_pause = campaign.spent.gpu_seconds, {row.video_id: row.gpu_seconds for row in rows if row.video_id}
        more = {"amount": campaign.budget.amount + 1000 * self.cost * self.rows, "unit": "gpu_seconds"}
        self.steer(lambda: self.cogmill.campaigns.patch(self.id, budget=more), not_out_of_money)


def tell(line: str) -> None:
    """What `pytest -s` shows of it."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def live(campaign: Campaign) -> int:
    return campaign.counts.held + campaign.counts.queued + campaign.counts.running


def not_out_of_money(campaign: Campaign) -> bool:
    return "budget" not in campaign.pause_reasons


def csv_of(rows: int, bad: int) -> bytes:
    """Good rows with bad ones between them, so that wherever the reading breaks off there are both behind it."""
    lines = [f"row-{n},thing {n},table {n % 3}" for n in range(rows)]
    wrong = [f"bad-{n},thing {n}," for n in range(bad)]
    every = bad // rows
    mixed = [line for n, row in enumerate(lines) for line in (*wrong[n * every : (n + 1) * every], row)]
    return "\n".join(["custom_id,product,scene", *mixed, *wrong[rows * every :]]).encode()


def insist(ask: Callable[[], T], *, within_s: float = PATIENCE_S) -> T:
    """Ask until there is an answer; what it refuses for good is a failure."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return ask()
        except (ApiError, ConnectionFailed) as error:
            refused = isinstance(error, ApiError) and error.status < 500
            if refused or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@dataclass
class Reaper:
    """Kills parts of a stack, and waits for nothing but that there is something to kill."""

    stack: Up
    random: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def kill(self, part: str, *, within_s: float) -> None:
        """At some moment of the next seconds."""
        time.sleep(self.random.uniform(0, within_s))
        eventually(lambda: self._killed(part))
        self.kills[part] += 1
        tell(f"{part} is dead")

    def _killed(self, part: str) -> bool:
        try:
            victim = self.random.choice(workers(self.stack)) if part == "worker" else pid_of(self.stack, part)
            victim.kill()
        except (IndexError, KeyError, psutil.NoSuchProcess):
            return False
        return True

    @contextmanager
    def reaping(self) -> Iterator[None]:
        """Again and again, whatever it is, where there are so many rows that the block takes minutes."""
        over = threading.Event()

        def reap() -> None:
            while not over.wait(self.random.uniform(*LULL_S)):
                self.kill(self.random.choice(PARTS), within_s=0)

        thread = threading.Thread(target=reap, daemon=True)
        if ROWS > MANY:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if ROWS > MANY:
                thread.join()


@pytest.fixture
def owners(faulty: Up) -> Iterator[list[Owner]]:
    """Of four campaigns of three tenants; the last one has half of the rows."""
    few = max(4, ROWS // 8)
    wanted = [("acme", few, 0), ("acme", 2 * few, 0), ("bolt", 2 * few, BAD), ("crux", max(4, ROWS - 5 * few), 0)]
    made: dict[str, Cogmill] = {}
    for tenant, _, _ in wanted:
        if tenant not in made:
            made[tenant] = Cogmill(faulty.key(tenant), faulty.ready["api"], timeout=20, max_retries=0)
    yield [Owner(made[tenant], tenant, rows, bad) for tenant, rows, bad in wanted]
    for client in made.values():
        client.close()


@pytest.mark.seeds(1)
@pytest.mark.timeout(240 + 2 * ROWS * ROW_S)
def test_whatever_is_killed_each_row_ends_once_and_the_books_agree(
    faulty: Up, owners: list[Owner], seed: int, tmp_path: Path
) -> None:
    reaper = Reaper(faulty, random.Random(seed))
    victims = dict(zip(PHASES, reaper.random.sample(PARTS, len(PARTS)), strict=True))
    begun = time.monotonic()
    with reaper.reaping():
        run(owners, reaper, victims)
        ended = [owner.finish() for owner in owners]
    took = time.monotonic() - begun
    rows = sum(owner.rows for owner in owners)
    print(
        f"{rows} rows in {took:.0f} s, {rows / took:.2f} rows/s; seed {seed}: {victims}; killed: {dict(reaper.kills)}"
    )
    eventually(lambda: insist(owners[0].cogmill.jwks))
    for owner, campaign in zip(owners, ended, strict=True):
        assert_accounted_for(faulty, owner, campaign, tmp_path)
    assert_delivered(faulty, owners[2])
    assert_within_budget(faulty, owners[1], BUDGET_ROWS * owners[1].cost)
    assert sql(faulty, "SELECT count(*) FROM jobs WHERE finished_at IS NULL") == [(0,)]


def run(owners: list[Owner], reaper: Reaper, victims: dict[str, str]) -> None:
    """Every phase, and a part that is killed in each."""
    sampled, thrifty, delivered, large = owners
    delivered.create(approval="none", output=f"s3://cogmill/exports/{delivered.tenant}/{{custom_id}}.mp4")
    reaper.kill(victims["ingest"], within_s=0.5)
    sampled.create(sample=3)
    sampled.until(lambda campaign: campaign.state not in ("ingesting", "planned"))
    tell("sampling")
    reaper.kill(victims["sampling"], within_s=0.5)
    (pool,) = insist(lambda: sampled.cogmill.campaigns.plan(sampled.id)).pools
    thrifty.cost = pool.gpu_seconds / pool.rows
    thrifty.create(approval="none", budget={"amount": BUDGET_ROWS * thrifty.cost, "unit": "gpu_seconds"})
    plan = sampled.until(lambda campaign: campaign.needs_approval).plan_token
    assert plan is not None
    sampled.steer(
        lambda: sampled.cogmill.campaigns.approve(sampled.id, plan), lambda campaign: campaign.approved_token == plan
    )
    tell("approved")
    large.create(approval="none", max_running=4)
    large.until(lambda campaign: campaign.counts.running > 0)
    reaper.kill(victims["running"], within_s=0.5)
    killing = threading.Thread(target=reaper.kill, args=(victims["pausing"],), kwargs={"within_s": 0.3})
    killing.start()
    large.steer(lambda: large.cogmill.campaigns.pause(large.id), lambda campaign: campaign.state == "paused")
    killing.join()
    still = large.until(lambda campaign: campaign.counts.running + campaign.counts.queued == 0)
    time.sleep(1)
    assert large.now().counts == still.counts, "it begins nothing while it is paused"
    tell("paused")
    large.steer(lambda: large.cogmill.campaigns.resume(large.id), lambda campaign: campaign.state != "paused")
    delivered.until(lambda campaign: campaign.counts.waiting + live(campaign) < 2, within_s=90 + ROWS * ROW_S)
    reaper.kill(victims["finishing"], within_s=1.0)


# ---------------------------------------------------------------- the books


def assert_accounted_for(stack: Up, owner: Owner, campaign: Campaign, directory: Path) -> None:
    """The campaign's counts, its rows, its manifest, its jobs, its spending and the ledger say the same."""
    counts = campaign.counts
    assert campaign.state == "completed", campaign
    assert (counts.rows, counts.bad) == (owner.rows, owner.bad)
    assert (counts.succeeded + counts.failed, counts.waiting + live(campaign)) == (owner.rows, 0)
    lines = manifest_of(stack, owner, directory / f"{owner.id}.jsonl")
    assert [line["row"] for line in lines] == list(range(owner.rows))
    assert {line["custom_id"] for line in lines} == {f"row-{n}" for n in range(owner.rows)}
    assert Counter(line["state"] for line in lines) == +Counter(succeeded=counts.succeeded, failed=counts.failed)
    assert all(line["error"]["code"] == "worker_lost" for line in lines if line["state"] == "failed")
    keys = [line["key"] for line in lines if line["state"] == "succeeded"]
    assert len(set(keys)) == counts.succeeded
    rows = insist(lambda: list(owner.cogmill.campaigns.rows(owner.id)))
    assert [(row.custom_id, row.state, row.result and row.result.key) for row in rows] == [
        (line["custom_id"], line["state"], line["key"]) for line in lines
    ]
    jobs = "SELECT state, count(*), count(DISTINCT id) FROM jobs WHERE campaign = $1 GROUP BY state"
    assert {state: (n, ids) for state, n, ids in sql(stack, jobs, owner.id)} == {
        state: (n, n) for state, n in (("succeeded", counts.succeeded), ("failed", counts.failed)) if n
    }
    used = insist(lambda: owner.cogmill.usage(campaign=owner.id)).total.gpu_seconds
    assert sum(row.gpu_seconds for row in rows) == pytest.approx(used, abs=0.001 * owner.rows)
    assert campaign.spent.gpu_seconds == pytest.approx(used, abs=0.001 * owner.rows)
    assert campaign.spent.reserved_gpu_seconds == pytest.approx(0, abs=1e-6)
    if owner.bad:
        bad = insist(lambda: list(owner.cogmill.campaigns.errors(owner.id)))
        assert [each.custom_id for each in bad] == [f"bad-{n}" for n in range(owner.bad)]


def manifest_of(stack: Up, owner: Owner, path: Path) -> list[dict[str, Any]]:
    """The rows of the campaign's last manifest, which is genuine, and whose videos are those that it names."""
    insist(lambda: owner.cogmill.campaigns.manifest(owner.id, path))
    signature = insist(lambda: owner.cogmill.campaigns.signature(owner.id))
    path.with_suffix(".sig.json").write_text(signature.model_dump_json())
    checked = cogmill("manifest", "verify", path, "--data-dir", stack.data_dir, "--objects", "s3", timeout_s=60 + ROWS)
    assert checked.returncode == 0, checked.stderr
    header, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert header["final"]
    assert header["counts"]["bad"] == owner.bad
    return lines


def assert_delivered(stack: Up, owner: Owner) -> None:
    """The copies are there under the owner's names, and no others."""
    links = {link.custom_id: link for link in insist(lambda: list(owner.cogmill.campaigns.links(owner.id)))}
    copies = {path.stem: path for path in (stack.data_dir / "s3/cogmill/exports" / owner.tenant).iterdir()}
    assert copies.keys() == links.keys()
    for custom_id, copy in copies.items():
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == links[custom_id].sha256
    assert hashlib.sha256(httpx.get(links["row-0"].url).content).hexdigest() == links["row-0"].sha256


def assert_within_budget(stack: Up, owner: Owner, budget: float) -> None:
    """At its pause it had overdrawn its budget by no more than its jobs had taken beyond what was reserved for them."""
    assert owner.at_pause is not None, "a budget for few rows paused it"
    used, took = owner.at_pause
    jobs = sql(stack, "SELECT id, cost FROM jobs WHERE campaign = $1", owner.id)
    reserved = {public_id(job): cost for job, cost in jobs}
    assert took.keys() <= reserved.keys()
    beyond = sum(max(0.0, seconds - reserved[job]) for job, seconds in took.items())
    assert used <= budget + beyond + 0.01 * owner.rows


def sql(stack: Up, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    async def fetch() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(stack.ready["database"])
        try:
            return [tuple(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(fetch())
