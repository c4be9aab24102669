"""`cogmill doctor`: tries every part that a deployment needs, and says how to mend what fails."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from orchestrator.adapters.issuers import fetch_of
from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.s3_urls import UrlObjects, Wallet
from orchestrator.commands.findings import ROLES, role_findings
from orchestrator.commands.findings import Finding as Finding
from orchestrator.commands.findings import Health as Health
from orchestrator.commands.shares import over
from orchestrator.config import AdapterSettings, ModelSettings, OidcSettings, S3Settings, Settings
from orchestrator.config.database import Access
from orchestrator.domain.errors import CogmillError
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.waiting import unavailable, worst
from orchestrator.ports import Share
from orchestrator.ports.masters import MasterUse
from orchestrator.store import Store, schema_version
from orchestrator.store.granting import Standing, standing

# No check takes longer, whatever does not answer it; to join Ray, and to read model files, may take more.
WITHIN_S = 12.0
_SLOW_S = 30.0


class RayCluster(Protocol):
    """What the doctor asks of a Ray cluster, which has answered already."""

    def gpus(self) -> float:
        """GPUs of all nodes, in use or not."""
        ...

    def nodes(self, resource: str) -> int:
        """How many living nodes have it."""
        ...

    def may_start(self, resource: str) -> bool | None:
        """Whether an autoscaler may start nodes that have it; None where none has told Ray of its nodes."""
        ...


class ModelFiles(Protocol):
    """What `workers.modelfiles` knows of files that are there; both raise `ConfigError`, saying what is wrong."""

    def require_model(self, path: Path) -> None: ...
    def require_adapter(self, path: Path) -> None: ...


Connect = Callable[[str | None], RayCluster]


def examine(settings: Settings, connect: Connect, files: ModelFiles) -> Iterator[Finding]:
    """Check one part after the other; each finding comes as soon as it is known, and none raises."""
    database = _check("database", partial(_database, settings.database), "start PostgreSQL, or correct database_url")
    yield database
    answers = database.health is Health.OK
    if answers:
        yield _check("schema", partial(_schema, settings.database), "run `cogmill migrate`")
        yield masters_finding(settings)
        yield from _roles(settings.database)
    advice = "correct endpoint, keys or bucket in the section s3; where S3 itself failed, look at its log and its disk"
    yield _check("bucket", partial(_bucket, settings.s3), advice)
    joined: list[RayCluster] = []
    advice = "start Ray, or correct ray.address and what RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN says"
    yield _check("ray", lambda: _ray(settings.ray.address, connect, joined), advice, within_s=_SLOW_S)
    advice = "add GPU nodes, or lower pools.*.workers or shared.*.workers" if joined else "mend what is said of ray"
    yield _check("gpus", lambda: _gpus(settings, joined), advice)
    for cluster in joined:
        for pool in settings.pools:
            yield from kind_findings(settings, pool, cluster)
    if answers:
        yield from _pools(settings)
        advice = (
            "behind a pooler in transaction mode, set database_pooling and listen_url (OPERATIONS.md, The database)"
        )
        yield _check("wake-ups", partial(_wakeups, settings), advice)
    for name, issuer in settings.oidc.items():
        yield issuer_finding(name, issuer)
    for name, model in settings.models.items():
        yield source_finding(f"model {name}", model, settings.ray.address, files.require_model)
    for name, lora in settings.adapters.items():
        yield source_finding(f"adapter {name}", lora, settings.ray.address, files.require_adapter)


def issuer_finding(name: str, settings: OidcSettings) -> Finding:
    """Whether an issuer of people's tokens shows its public keys."""
    advice = f"correct oidc.{name}: issuer, jwks_url, ca_file; the API must reach it, too"
    return _check(f"issuer {name}", lambda: _shown(asyncio.run(fetch_of(name, settings)())), advice)


def _shown(said: Mapping[str, Any]) -> str:
    keys = said.get("keys")
    if not isinstance(keys, list) or not keys:
        raise _Ill("it shows no public keys")
    return f"shows {len(keys)} public keys"


def source_finding(
    part: str,
    section: ModelSettings | AdapterSettings,
    ray_address: str | None,
    require: Callable[[Path], None],
) -> Finding:
    """Look at a model's or an adapter's files, where they can be seen: workers elsewhere have their own disks."""
    path = section.directory
    if path is None:
        return Finding(part, Health.NOTE, f"{section.source} is fetched by the workers, and checked then")
    if not path.exists() and not _on_this_machine(ray_address):
        return Finding(part, Health.NOTE, f"{path} is not on this machine; workers check theirs when they load it")
    advice = f"put the files there, or correct the source of {part}"
    return _check(part, partial(_whole, path, require), advice, within_s=_SLOW_S)


def _whole(path: Path, require: Callable[[Path], None]) -> str:
    try:
        require(path)
    except OSError as error:
        raise _Ill(f"{path} cannot be read: {error}") from error
    return f"{path} is whole"


class _Ill(CogmillError):
    """A part answers, and not as it should."""


def _check(part: str, attempt: Callable[[], str], mend: str, *, within_s: float | None = None) -> Finding:
    """The finding of one check, within `WITHIN_S` or else `within_s`: one that hangs is left behind in its thread."""
    within_s = WITHIN_S if within_s is None else within_s
    answers: queue.SimpleQueue[Finding] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(Finding(part, Health.OK, attempt()))
        except CogmillError as error:
            answers.put(Finding(part, Health.FAIL, _line(error), mend))
        except Exception as error:  # whatever it is: the other checks go on
            answers.put(Finding(part, Health.FAIL, _line(f"{type(error).__name__}: {error}"), mend))

    threading.Thread(target=run, name=part, daemon=True).start()
    try:
        return answers.get(timeout=within_s)
    except queue.Empty:
        return Finding(part, Health.FAIL, f"no answer within {within_s:g} s", mend)


def _line(said: object) -> str:
    return " ".join(str(said).split())[:300]


def _roles(database: Access) -> Iterator[Finding]:
    """Whether each role may do what its process needs, and what more."""
    told: list[Standing] = []

    def ask() -> str:
        told.append(standing(database))
        return ""

    asked = _check(ROLES, ask, "run `cogmill migrate`")
    if asked.health is Health.FAIL:
        yield asked
        return
    for finding in role_findings(told[0]):
        yield Finding(finding.part, finding.health, _line(finding.detail), finding.mend)


def _pools(settings: Settings) -> Iterator[Finding]:
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

    asked = _check("pools", ask, "run `cogmill migrate`")
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
        return Finding(part, Health.FAIL, _line(f"{said} ({broken.detail})"), mend)
    if not loaded:
        return Finding(part, Health.NOTE, str(unavailable(loads)))
    return Finding(part, Health.OK, f"{len(loaded)} of {len(loads)} workers have loaded {loaded[0].model}")


def kind_findings(settings: Settings, pool: str, cluster: RayCluster) -> Iterator[Finding]:
    """Of each kind that has a resource of its own, whether there is a node for it, or may be one."""
    for name, kind in settings.pools[pool].kinds.items():
        part, resource = f"kind {pool}.{name}", kind.resource
        if resource is None:
            continue
        nodes, comes = cluster.nodes(resource), cluster.may_start(resource)
        mend = (
            f"start its nodes with `--resources '{{\"{resource}\": 1}}'`, or correct pools.{pool}.kinds.{name}.resource"
        )
        if nodes:
            yield Finding(part, Health.OK, f"{nodes} nodes have the resource {resource}")
        elif comes:
            yield Finding(part, Health.OK, f"no node has the resource {resource} now; the autoscaler may start some")
        elif comes is False:
            said = f"no node has the resource {resource}, and no node type of the autoscaler has it"
            yield Finding(part, Health.FAIL, said, mend)
        elif kind.min:
            said = f"no node has the resource {resource}, and there should be {kind.min} workers at all times"
            yield Finding(part, Health.FAIL, said, mend)
        else:
            said = f"no node has the resource {resource} now, and nothing tells Ray whether one will come: {mend}"
            yield Finding(part, Health.NOTE, said)


def _database(database: Access) -> str:
    async def write() -> None:
        async with Store.open(database, connections=1) as store:
            await store.check_writes()

    current, _ = schema_version(database)
    if current is not None:
        asyncio.run(write())
    return f"{database.address.shown} answers, and takes writes"


def masters_finding(settings: Settings) -> Finding:
    """Whether the ring has every generation of the master key that something lives on."""
    if settings.master_key is None and not settings.master_keys:
        return Finding("master keys", Health.NOTE, "this process has none: the API and the maintainer need one")
    advice = "put it back into master_keys, or end what lives on it (`cogmill keys masters`, `retire-master`)"
    return _check("master keys", partial(_held, settings), advice)


def _held(settings: Settings) -> str:
    async def read() -> list[MasterUse]:
        async with Store.open(settings.database, connections=1) as store:
            return await store.masters_in_use()

    ring = settings.needed_ring
    elsewhere = [use for use in asyncio.run(read()) if use.generation != ring.newest.generation]
    lives = [f"{use.keys} keys and {use.secrets} webhook secrets are on {use.generation}" for use in elsewhere]
    if lost := [use for use in elsewhere if use.generation not in ring.generations]:
        told = ", ".join(f"{use.generation} ({use.keys} keys, {use.secrets} webhook secrets)" for use in lost)
        raise _Ill(f"the ring holds {_words(ring.generations)}, and something lives on {told}")
    return "; ".join((f"generation {ring.newest.generation} makes new secrets", *lives))


def _words(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _wakeups(settings: Settings) -> str:
    async def hears() -> bool:
        async with Store.open(settings.database, connections=1) as store:
            return await store.hears(within_s=WITHIN_S / 3)

    if not asyncio.run(hears()):
        raise _Ill("a notification does not arrive: new jobs are only found by looking once a second")
    return f"{settings.database.direct.shown} passes them on"


def _schema(database: Access) -> str:
    current, newest = schema_version(database)
    if current != newest:
        raise _Ill(f"the database has revision {current}, this version needs {newest}")
    return f"revision {newest}"


def _bucket(settings: S3Settings) -> str:
    # A doctor reports what retries would ride over, and does not wait as long as a worker would.
    changes = {"max_attempts": 1, "read_timeout_s": min(settings.read_timeout_s, WITHIN_S / 2)}
    impatient = settings.model_copy(update=changes)
    objects = S3Objects(impatient)
    told = f"{settings.bucket}: written, read, listed, deleted"
    if settings.worker_access == "shared":
        objects.check()
        return f"{told}; workers have these keys, too (s3.worker_access)"

    def as_a_worker(key: str) -> None:
        wallet, signed = Wallet(), objects.sign([key], [key], lifetime_s=60)
        wallet.take(uuid4(), signed.reads, signed.writes)
        UrlObjects(impatient.for_workers, wallet).put(key, b"cogmill doctor", "text/plain")

    objects.check(as_a_worker)
    return f"{told}; written and read by signed URLs, as workers do"


def _ray(address: str | None, connect: Connect, joined: list[RayCluster]) -> str:
    _knock(address)
    joined.append(connect(address))
    return f"{address or 'the cluster of this machine'} answers"


def _gpus(settings: Settings, joined: list[RayCluster]) -> str:
    if not joined:
        raise _Ill("they cannot be counted while Ray does not answer")
    wanted, _ = settings.gpus
    there = joined[0].gpus()
    if there < wanted:
        raise _Ill(f"the cluster has {there:g} now, and the pools want {wanted}")
    return f"{there:g}, of which the pools want {wanted}"


def _on_this_machine(address: str | None) -> bool:
    """Whether Ray's address (`host:port`; None is Ray's own choice) is the loopback: then workers share our disk."""
    host = (address or "").rpartition(":")[0].strip("[]")
    try:
        return host in ("", "localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _knock(address: str | None) -> None:
    """Fail at once where `ray.init` would try for minutes; None lets Ray find its own cluster."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise _Ill(f"nothing answers at {address}: {error}") from None
