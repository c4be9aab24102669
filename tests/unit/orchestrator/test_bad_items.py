"""In every loop: one bad item holds up no other. Every loop has its case; those of the API's are here.

The dispatcher's and the maintainer's are beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from orchestrator.audit.refusals import Refusals
from orchestrator.domain.audit import Change
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.notify.campaign_feed import CampaignFeed
from orchestrator.notify.feed import Feed
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.controller import Controller
from orchestrator.rolling.template import CLUSTER_LABEL
from orchestrator.telemetry import aside, metrics
from tests.support import rolling
from tests.support.bad_items import BAD, GOOD, Broken, Done, fake
from tests.unit.orchestrator import test_bad_items_dispatching as dispatching
from tests.unit.orchestrator import test_bad_items_maintaining as maintaining

ROOT = Path(__file__).parents[3]

# These read or write in one statement of their own, and have no items that one could break.
NO_ITEMS = {"beat", "wake_due", "queue_depth", "pauses", "prune_deliveries", "webhook_backlog", "listen", "look"}
NO_ITEMS |= {"campaigns", "worker_time", "learned", "prune_learned", "key_uses", "secrets", "stored", "audit_prune"}
NO_ITEMS |= {"sample", "thin_samples", "prune_bulk_actions", "prune_notes"}
# With the database that they need: `tests/contract/orchestrator/test_bad_rows.py`.
ELSEWHERE = {"ingest", "refill", "finish", "adopt_batches", "announce", "deliver"}
# `tests/security/test_audit.py`.
ELSEWHERE |= {"audit_seal"}


async def feed() -> object:
    bad, good = uuid4(), uuid4()
    asked: list[UUID] = []

    async def snapshots(ids: Collection[UUID]) -> dict[UUID, Any]:
        if bad in ids:
            raise Broken
        asked.extend(ids)
        return {}

    feed = Feed(fake(snapshots=snapshots), watchers=9)
    with feed.watch(fake(id=bad, tenant="a")) as one, feed.watch(fake(id=good, tenant="b")) as other:
        await feed.run_once()
        assert asked == [good]
        assert await other.changed(0.1)
        assert not await one.changed(0.001)  # it was not told that its video is gone
    return [GOOD]


async def campaign_feed() -> object:
    done = Done()

    async def get_campaign(campaign_id: str, tenant: str) -> None:
        await done(campaign_id)

    feed = CampaignFeed(fake(get_campaign=get_campaign), watchers=9)
    with feed.watch(fake(id=BAD, tenant="a")) as one, feed.watch(fake(id=GOOD, tenant="b")) as other:
        await feed.run_once()
        assert await other.changed(0.1)
        assert not await one.changed(0.001)
    return done.saw


async def clusters() -> object:
    """A cluster that cannot be moved keeps no other from it."""
    done = Done()
    rows = [
        fake(
            name=name, state=ClusterState.KEPT, version=0, age_s=1.0, ready={}, told={}, running=0, obeyed=False,
            successor="another", heard=True, hosts={}, gives={},
        )
        for name in (BAD, GOOD)
    ]  # fmt: skip
    metadata = {"name": "owner", "uid": "u"}

    async def get(kind: Kind, name: str) -> Any:
        return {"metadata": metadata, "data": rolling.template()}

    async def listed(kind: Kind, label: str, value: str) -> list[Any]:
        labels = ({"labels": {CLUSTER_LABEL: name}} for name in (BAD, GOOD))
        return [{"metadata": {"name": "x", "uid": "u", **each}} for each in labels]

    async def create(*_: object) -> bool:
        return True

    async def known(*_: object) -> list[Any]:
        return rows

    store = fake(clusters=known, move_cluster=done, add_cluster=create)
    api = fake(get=get, list=listed, create=create)
    await Controller(api, store, rolling.SETTINGS, "video").run_once()
    return done.saw


async def refusals() -> object:
    done = Done()

    async def note(change: Change) -> None:
        await done(change.object.removeprefix("key:"))

    async def find_key(key_id: str) -> None: ...

    told = Refusals(fake(note=note, find_key=find_key))
    for key_id in (BAD, GOOD):
        told.unauthenticated("invalid", None, key_id, "r")
    await told.flush()
    return done.saw


CASES: dict[str, Callable[[], Awaitable[object]]] = {
    "feed": feed,
    "campaign_feed": campaign_feed,
    "clusters": clusters,
    "refusals": refusals,
}


@pytest.mark.parametrize("loop", CASES)
async def test_one_bad_item_holds_up_no_other(loop: str) -> None:
    assert GOOD in cast(list[str], await CASES[loop]())


def test_every_loop_of_every_process_has_its_case() -> None:
    started = set[str]()
    for source in [*(ROOT / "orchestrator/processes").glob("*.py"), ROOT / "api/app.py"]:
        started |= set(re.findall(r"\b(?:Loop|_several)\(f?\"([a-z_-]+)", source.read_text()))
    assert len(started) > 15
    known = (*CASES, *dispatching.CASES, *maintaining.CASES)
    assert started == set(known) | NO_ITEMS | ELSEWHERE


def test_a_part_that_does_not_answer_is_no_items_fault() -> None:
    with pytest.raises(StoreUnavailable), aside.unless_it_breaks("x"):
        raise StoreUnavailable("away")


def test_what_is_put_aside_leaves_evidence_and_is_counted() -> None:
    before = metrics.parked.labels("x")._value.get()
    with aside.unless_it_breaks("x"):
        raise Broken("a\x00b\nc")
    assert metrics.parked.labels("x")._value.get() == before + 1
    with pytest.raises(Broken) as raised:
        raise Broken("a\x00b\nc")
    told = aside.told(raised.value)
    assert re.fullmatch(r"Broken: a\ufffdb c \(test_bad_items\.py:\d+ in test_what_is_\w+\)", told)
