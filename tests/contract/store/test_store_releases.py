"""The schema serves dispatchers of earlier releases: one whose cluster retires keeps its image until it is empty."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.states import JobState
from orchestrator.store import Store
from tests.support import previous_release
from tests.support.jobs import CLUSTER, POOL, new_job
from tests.support.sources import ROOT

VERSIONS = ROOT / "orchestrator" / "store" / "migrations" / "versions"
# From here on clusters have dispatchers of their own, which stay while the schema goes on.
FIRST = "0016"

# What an earlier release's statements would trip over: what they name is gone, or what they leave out is missed.
GONE = re.compile(r"\bDROP (TABLE|COLUMN|FUNCTION|VIEW)|\bRENAME\b|\bALTER COLUMN\b|\bSET NOT NULL\b", re.IGNORECASE)
COLUMN = re.compile(r"\bADD COLUMN\b[^,;]*", re.IGNORECASE)

_EARLIER = """
import asyncio, sys
from orchestrator.domain.job import Failure, WorkerRef
from orchestrator.domain.outcome import Evicted, Lost, settle
from orchestrator.domain.retry import RetryPolicy
from orchestrator.ports import Progress
from orchestrator.store import Store

url, cluster, pool = sys.argv[1:]
AT_ONCE = RetryPolicy(base_s=0.0, cap_s=0.0)
LOST = Lost(failure=Failure(code="worker_lost", message="its worker vanished"))

async def main():
    workers = [WorkerRef(name=f"w{i}", incarnation="first") for i in range(2)]
    async with Store.open(url) as store:
        assert await store.next_epoch(cluster) == 1
        for _ in range(2):
            assert not await store.beat(cluster, {worker: pool for worker in workers})
        one, other = await store.claim(pool, cluster, workers)
        assert {claim.token for claim in await store.running(cluster)} == {one.token, other.token}
        assert not await store.cancel_requests(cluster)
        ends = [settle(one, Evicted(reason="drain"), AT_ONCE, 0.5), settle(other, LOST, AT_ONCE, 0.5)]
        for result in await store.settle(ends):
            print(result.settled, result.state)

asyncio.run(main())
"""


async def test_a_dispatcher_of_the_release_before_claims_renews_and_settles(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    """At the store alone; `tests/acceptance/test_upgrade.py` has one that renders. It predates claims by cluster."""
    jobs = [new_job(), new_job(max_attempts=1)]
    for job in jobs:
        await store.submit(job)
    tree = previous_release.unpack(tmp_path)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _EARLIER, database_url, CLUSTER, POOL],
        capture_output=True,
        text=True,
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["applied queued", "applied failed"]
    found = [await store.get(job.id, job.tenant) for job in jobs]
    assert [each.state for each in found if each is not None] == [JobState.QUEUED, JobState.FAILED]


def upgrades(source: str) -> list[str]:
    """The SQL of a migration's way up."""
    (upgrade,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    return [each.value for each in ast.walk(upgrade) if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def trips(sql: str) -> list[str]:
    """What of it would stop an earlier release's dispatcher."""
    columns = (found[0] for found in COLUMN.finditer(sql))
    missed = [it for it in columns if "NOT NULL" in it.upper() and "DEFAULT" not in it.upper()]
    return [found[0] for found in GONE.finditer(sql)] + missed


def test_migrations_leave_everything_that_dispatchers_of_retiring_clusters_name() -> None:
    later = [path for path in sorted(VERSIONS.glob("0*.py")) if path.stem[:4] > FIRST]
    assert later
    for path in later:
        for sql in upgrades(path.read_text()):
            assert trips(sql) == [], f"{path.name}: a column goes, or becomes needed, when no cluster reads it any more"


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE jobs DROP COLUMN spec",
        "DROP TABLE keys",
        "ALTER TABLE jobs RENAME COLUMN spec TO ask",
        "ALTER TABLE jobs ALTER COLUMN step TYPE bigint",
        "ALTER TABLE jobs ADD COLUMN a int, ADD COLUMN b int NOT NULL",
    ],
)
def test_what_an_earlier_release_would_trip_over_is_seen(sql: str) -> None:
    assert trips(sql)
    assert trips("ALTER TABLE jobs ADD COLUMN a int NOT NULL DEFAULT 0, ADD COLUMN b text") == []
