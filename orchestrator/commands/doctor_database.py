"""What the doctor asks of the database: the schema, master keys, roles, pools, and whether notifications arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from orchestrator.commands.findings import WITHIN_S, Finding, Health, check, ill, one_line
from orchestrator.commands.shares import over
from orchestrator.config import Settings
from orchestrator.config.database import Access
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.waiting import unavailable, worst
from orchestrator.ports import Share
from orchestrator.ports.masters import MasterUse
from orchestrator.store import Store, schema_version
from orchestrator.store.granting import Standing, standing
from orchestrator.store.roles import Privilege

_ROLES = "roles"
_MEND = "run `cogmill migrate` as the owner of the tables"
_SPLIT = "`cogmill database roles --sql` prints a role for each process (OPERATIONS.md, Roles in the database)"
_GIVE = "give each process the URL of its own role (OPERATIONS.md, Roles in the database)"


def reached(settings: Settings) -> Finding:
    """Whether the database answers, and takes writes."""
    advice = "start PostgreSQL, or correct database_url"
    return check("database", partial(_database, settings.database), advice)


def findings(settings: Settings) -> Iterator[Finding]:
    """Of a database that answers: whether it has what this version needs, and who may do what in it."""
    yield check("schema", partial(_schema, settings.database), "run `cogmill migrate`")
    yield masters_finding(settings)
    yield from _roles(settings.database)


def told_findings(settings: Settings) -> Iterator[Finding]:
    """What a running dispatcher has written of its workers, and whether it hears of new work at once."""
    yield from pool_findings(settings)
    advice = "behind a pooler in transaction mode, set database_pooling and listen_url (OPERATIONS.md, The database)"
    yield check("wake-ups", partial(_wakeups, settings), advice)


def _database(database: Access) -> str:
    async def write() -> None:
        async with Store.open(database, connections=1) as store:
            await store.check_writes()

    current, _ = schema_version(database)
    if current is not None:
        asyncio.run(write())
    return f"{database.address.shown} answers, and takes writes"


def _schema(database: Access) -> str:
    current, newest = schema_version(database)
    if current != newest:
        raise ill(f"the database has revision {current}, this version needs {newest}")
    return f"revision {newest}"


def masters_finding(settings: Settings) -> Finding:
    """Whether the ring has every generation of the master key that something lives on."""
    if settings.master_key is None and not settings.master_keys:
        return Finding("master keys", Health.NOTE, "this process has none: the API and the maintainer need one")
    advice = "put it back into master_keys, or end what lives on it (`cogmill keys masters`, `retire-master`)"
    return check("master keys", partial(_held, settings), advice)


def _held(settings: Settings) -> str:
    async def read() -> list[MasterUse]:
        async with Store.open(settings.database, connections=1) as store:
            return await store.masters_in_use()

    ring = settings.needed_ring
    elsewhere = [use for use in asyncio.run(read()) if use.generation != ring.newest.generation]
    lives = [f"{use.keys} keys and {use.secrets} webhook secrets are on {use.generation}" for use in elsewhere]
    if lost := [use for use in elsewhere if use.generation not in ring.generations]:
        told = ", ".join(f"{use.generation} ({use.keys} keys, {use.secrets} webhook secrets)" for use in lost)
        held = ", ".join(map(str, ring.generations))
        raise ill(f"the ring holds {held}, and something lives on {told}")
    return "; ".join((f"generation {ring.newest.generation} makes new secrets", *lives))


def _roles(database: Access) -> Iterator[Finding]:
    """Whether each role may do what its process needs, and what more."""
    told: list[Standing] = []

    def ask() -> str:
        told.append(standing(database))
        return ""

    asked = check(_ROLES, ask, "run `cogmill migrate`")
    if asked.health is Health.FAIL:
        yield asked
        return
    for finding in role_findings(told[0]):
        yield Finding(finding.part, finding.health, one_line(finding.detail), finding.mend)


def role_findings(found: Standing) -> Iterator[Finding]:
    """What the one who asks lacks, what the others lack, and whether one URL may do everything."""
    for role in found.roles:
        if role.lacks:
            yield Finding(_ROLES, Health.FAIL, f"{role.name} lacks {_said(role.lacks)}", _MEND)
        if role.spare:
            yield Finding(_ROLES, Health.NOTE, f"{role.name} may, beyond its needs, {_said(role.spare)}: revoke that")
    mine = next((role for role in found.roles if role.name == found.user), None)
    if mine is not None:
        if not mine.lacks:
            yield Finding(_ROLES, Health.OK, f"{mine.name} may do what {mine.login} needs")
    elif found.owns:
        advice = _GIVE if any(role.there for role in found.roles) else _SPLIT
        told = f"{found.user} may do everything with the tables, and with its URL a stolen Ray token may: {advice}"
        yield Finding(_ROLES, Health.NOTE, told)
    elif found.lacks:
        yield Finding(_ROLES, Health.FAIL, f"{found.user} lacks {_said(found.lacks)}", _MEND)
    else:
        yield Finding(_ROLES, Health.NOTE, f"{found.user} may do what all processes do: {_SPLIT}")


def _said(privileges: Iterable[Privilege]) -> str:
    return "; ".join(map(str, privileges))


def pool_findings(settings: Settings) -> Iterator[Finding]:
    """What the dispatcher has last told of each pool's workers."""
    told: list[WorkerLoad] = []
    shares: list[Share] = []

    def ask() -> str:
        async def read() -> None:
            async with Store.open(settings.database, connections=1) as store:
                told.extend(await store.worker_loads())
                shares.extend(await store.list_shares())

        asyncio.run(read())
        return ""

    asked = check("pools", ask, "run `cogmill migrate`")
    if asked.health is Health.FAIL:
        yield asked
        return
    for pool in settings.pools:
        here = [load for load in told if load.pool == pool]
        shared = settings.set_of(pool)
        if told and not here and shared is not None and not settings.own_workers(pool):
            yield Finding(
                f"pool {pool}", Health.NOTE, f"no worker of shared.{shared} holds {settings.pools[pool].model} now"
            )
        else:
            yield pool_finding(pool, here)
    for pool in sorted({share.pool for share in shares}):
        problem = over(pool, shares, settings.guaranteeable(pool) if pool in settings.pools else None)
        if problem is not None:
            yield Finding("shares", Health.NOTE, problem)


def pool_finding(pool: str, loads: Sequence[WorkerLoad]) -> Finding:
    """Whether the workers of a pool have their model loaded, and in their own words why they have not."""
    part = f"pool {pool}"
    if not loads:
        return Finding(part, Health.NOTE, "no dispatcher has told of its workers in the last ten minutes")
    loaded = [load for load in loads if load.state is LoadState.LOADED]
    broken = worst(loads)
    if broken.state is LoadState.BROKEN:
        said = f"{broken.worker} cannot load {broken.model}, {broken.failures} times in a row: {broken.reason}"
        mend = "it is tried again after ever longer rests, and at once when its files change or the dispatcher restarts"
        return Finding(part, Health.FAIL, one_line(f"{said} ({broken.detail})"), mend)
    if not loaded:
        return Finding(part, Health.NOTE, str(unavailable(loads)))
    return Finding(part, Health.OK, f"{len(loaded)} of {len(loads)} workers have loaded {loaded[0].model}")


def _wakeups(settings: Settings) -> str:
    async def hears() -> bool:
        async with Store.open(settings.database, connections=1) as store:
            return await store.hears(within_s=WITHIN_S / 3)

    if not asyncio.run(hears()):
        raise ill("a notification does not arrive: new jobs are only found by looking once a second")
    return f"{settings.database.direct.shown} passes them on"
