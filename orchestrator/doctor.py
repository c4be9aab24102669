"""`cogmill doctor`: tries every part that a deployment needs, and says how to mend what fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings, Settings
from orchestrator.domain.errors import CogmillError
from orchestrator.store import schema_version


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check; `mend` is how to put right what failed."""

    part: str
    ok: bool
    detail: str
    mend: str = ""

    def line(self) -> str:
        """One line for a terminal."""
        verdict, advice = ("ok  ", "") if self.ok else ("FAIL", f" -> {self.mend}")
        return f"{verdict}  {self.part:<20} {self.detail}{advice}"


class Cluster(Protocol):
    """The one thing that the doctor asks of a Ray cluster."""

    def gpus(self) -> float:
        """GPUs of all nodes, in use or not."""
        ...


Connect = Callable[[str | None, str], Cluster]


def examine(settings: Settings, connect: Connect) -> Iterator[Finding]:
    """Check one part after the other; each finding comes as soon as it is known, and none raises."""
    yield _check("database", partial(_database, settings.database_url), "start PostgreSQL, or correct database_url")
    yield _check("schema", partial(_schema, settings.database_url), "run `cogmill migrate`")
    yield _check("bucket", partial(_bucket, settings.s3), "correct endpoint, keys or bucket in the section s3")
    yield _check("ray", partial(_ray, settings, connect), "start Ray, or correct ray.address, RAY_AUTH_TOKEN_PATH")
    for name, model in settings.models.items():
        advice = f"put the checkpoint there, or correct models.{name}.path"
        yield _check(f"model {name}", partial(_checkpoint, model.path), advice)


class _Ill(CogmillError):
    """A part answers, and not as it should."""


def _check(part: str, attempt: Callable[[], str], mend: str) -> Finding:
    try:
        return Finding(part, True, attempt())
    except CogmillError as error:
        return Finding(part, False, " ".join(str(error).split())[:300], mend)


def _database(database_url: str) -> str:
    schema_version(database_url)
    where = urlsplit(database_url)
    return f"{where.hostname}:{where.port or 5432}{where.path} answers"


def _schema(database_url: str) -> str:
    current, newest = schema_version(database_url)
    if current != newest:
        raise _Ill(f"the database has revision {current}, this version needs {newest}")
    return f"revision {newest}"


def _bucket(settings: S3Settings) -> str:
    objects, key, content = S3Objects(settings), f"doctor/{uuid4().hex}", uuid4().bytes
    objects.put(key, content, "application/octet-stream")
    try:
        if objects.get(key) != content:
            raise _Ill(f"{settings.bucket} returned other bytes than were written")
    finally:
        objects.delete([key])
    return f"{settings.bucket}: written, read, deleted"


def _ray(settings: Settings, connect: Connect) -> str:
    _knock(settings.ray.address)
    wanted = sum(pool.workers * pool.gpus_per_worker for pool in settings.pools.values())
    gpus = connect(settings.ray.address, "cogmill-doctor").gpus()
    if gpus < wanted:
        raise _Ill(f"the cluster has {gpus:g} GPUs now, and the pools want {wanted}")
    return f"{settings.ray.address or 'local'}: {gpus:g} GPUs, {wanted} wanted"


def _knock(address: str | None) -> None:
    """Fail at once where `ray.init` would try for minutes; None lets Ray find its own cluster."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise _Ill(f"nothing answers at {address}: {error}") from None


def _checkpoint(path: Path) -> str:
    """A diffusers checkpoint: its index, and a directory for each component that the index names."""
    try:
        index = json.loads((path / "model_index.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _Ill(f"{path} is no diffusers checkpoint on this machine: {error}") from None
    components = [name for name, value in index.items() if isinstance(value, list) and all(value)]
    missing = [name for name in components if not any((path / name).glob("*"))]
    if missing:
        raise _Ill(f"{path} lacks {', '.join(missing)}")
    return f"{path}: {', '.join(components)}"
