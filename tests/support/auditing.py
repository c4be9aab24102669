"""An audit log with some seals, and what `cogmill audit verify` says of it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.audit.sealing import Sealer
from orchestrator.audit.verifying import Report, verify
from orchestrator.domain.audit import Actor
from orchestrator.domain.audit_chain import Entry, Head, Keys, sealed
from orchestrator.domain.masters import Ring
from orchestrator.ports.audit import AuditFilter
from orchestrator.store import Store
from orchestrator.store.audit_sealing import blank
from orchestrator.telemetry import acting
from tests.support.api import MASTER_KEY

KEYS = Keys([MASTER_KEY])
DAY = 24 * 3600.0
ADMIN = Actor(name="key:cgm_admin", key="cgm_admin", tenant="platform", address="203.0.113.9", request_id="req-1")


async def changed(store: Store, tenant: str, weight: float, by: Actor = ADMIN) -> None:
    """One entry: an administrator gives a tenant another weight."""
    with acting.acting(by):
        await store.set_weight(tenant, weight)


async def seal(store: Store, *, of: int = 500) -> int:
    """Seal what is ready, so many entries at a time; how many seals that made."""
    made = 0
    while await store.seal_audit(lambda *what: sealed(*what, KEYS), at_most=of):
        made += 1
    return made


async def sealed_log(store: Store) -> list[int]:
    """Six entries in three seals; the ids of those six. What the migration recorded is in a seal before them."""
    await seal(store)
    for number in range(6):
        await changed(store, f"tenant-{number}", 2.0)
    assert await seal(store, of=2) == 3
    return [entry.id for entry in await entries(store)][-6:]


async def entries(store: Store, **wanted: str) -> list[Entry]:
    """The oldest first."""
    return list((await store.page_audit(AuditFilter(**wanted), limit=1000, oldest_first=True)).entries)


async def erased(store: Store, tenant: str) -> int:
    """What the end of a tenant's erasure does to the log; how many entries it blanks."""

    async def erase(connection: AsyncConnection) -> int:
        return await blank(connection, tenant, "erasure_1")

    return await store._database.transact(erase)


async def verified(store: Store, *, keys: Keys = KEYS, kept: Sequence[Head] = ()) -> Report:
    return await verify(store, keys, kept=kept, deployment=await store.deployment_id())


async def head(store: Store) -> Head:
    """What `cogmill audit heads` prints now."""
    last = await store.last_seal()
    assert last is not None
    return Head(deployment=await store.deployment_id(), number=last.number, link=last.link)


def sealer(store: Store, *, master_key: str = MASTER_KEY, keep_days: float = 400) -> Sealer:
    """What the maintainer runs."""
    return Sealer(store, Ring.of(master_key), keep_s=keep_days * DAY)
