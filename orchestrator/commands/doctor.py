"""`cogmill doctor`: tries every part that a deployment needs, and says how to mend what fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from orchestrator.adapters.issuers import fetch_of
from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.s3_urls import UrlObjects, Wallet
from orchestrator.commands import doctor_database
from orchestrator.commands.findings import SLOW_S, WITHIN_S, Finding, Health, check, ill
from orchestrator.config import AdapterSettings, ModelSettings, OidcSettings, S3Settings, Settings


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
    database = doctor_database.reached(settings)
    yield database
    answers = database.health is Health.OK
    if answers:
        yield from doctor_database.findings(settings)
    advice = "correct endpoint, keys or bucket in the section s3; where S3 itself failed, look at its log and its disk"
    yield check("bucket", partial(_bucket, settings.s3), advice)
    joined: list[RayCluster] = []
    advice = "start Ray, or correct ray.address and what RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN says"
    yield check("ray", lambda: _ray(settings.ray.address, connect, joined), advice, within_s=SLOW_S)
    advice = "add GPU nodes, or lower pools.*.workers or shared.*.workers" if joined else "mend what is said of ray"
    yield check("gpus", lambda: _gpus(settings, joined), advice)
    for cluster in joined:
        for pool in settings.pools:
            yield from kind_findings(settings, pool, cluster)
    if answers:
        yield from doctor_database.told_findings(settings)
    for name, issuer in settings.oidc.items():
        yield issuer_finding(name, issuer)
    for name, model in settings.models.items():
        yield source_finding(f"model {name}", model, settings.ray.address, files.require_model)
    for name, lora in settings.adapters.items():
        yield source_finding(f"adapter {name}", lora, settings.ray.address, files.require_adapter)


def issuer_finding(name: str, settings: OidcSettings) -> Finding:
    """Whether an issuer of people's tokens shows its public keys."""
    advice = f"correct oidc.{name}: issuer, jwks_url, ca_file; the API must reach it, too"
    return check(f"issuer {name}", lambda: _shown(asyncio.run(fetch_of(name, settings)())), advice)


def _shown(said: Mapping[str, Any]) -> str:
    keys = said.get("keys")
    if not isinstance(keys, list) or not keys:
        raise ill("it shows no public keys")
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
    return check(part, partial(_whole, path, require), advice, within_s=SLOW_S)


def _whole(path: Path, require: Callable[[Path], None]) -> str:
    try:
        require(path)
    except OSError as error:
        raise ill(f"{path} cannot be read: {error}") from error
    return f"{path} is whole"


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
        raise ill("they cannot be counted while Ray does not answer")
    wanted, _ = settings.gpus
    there = joined[0].gpus()
    if there < wanted:
        raise ill(f"the cluster has {there:g} now, and the pools want {wanted}")
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
        raise ill(f"nothing answers at {address}: {error}") from None
