"""The workers of one cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from orchestrator.config import (
    AdapterSettings,
    EngineSettings,
    FinishSettings,
    LogSettings,
    ModerationSettings,
    PoolSettings,
    S3Settings,
)
from orchestrator.domain.catalog import FAMILIES, ModelFamily, Size
from orchestrator.domain.job import fill
from orchestrator.domain.protocol import Answer, Assignment, Caller, WorkerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """All it takes to start one worker."""

    name: str
    pool: str
    # The configured model to load.
    model: str
    # Its entry in the catalogue.
    family: str
    # Where its diffusers checkpoint is (`ModelSettings`).
    source: str
    # The directory for what must be fetched to the worker's node.
    cache: Path
    settings: PoolSettings
    engine: EngineSettings = field(default_factory=EngineSettings)
    # LoRA adapters that may be asked for by name.
    adapters: Mapping[str, AdapterSettings] = field(default_factory=dict)
    # The bucket to read from and to upload to.
    s3: S3Settings
    log: LogSettings = field(default_factory=LogSettings)
    finish: FinishSettings = field(default_factory=FinishSettings)
    moderation: ModerationSettings = field(default_factory=ModerationSettings)
    # Those of the family's that are offered; none is all.
    sizes: tuple[Size, ...] = ()
    # The pool's kind that it is of; none where the pool has no kinds.
    kind: str | None = None
    # The Ray resource that its node must have; none is any node.
    resource: str | None = None
    # Its node may be taken away, and need not come back: Ray must not wait for that.
    may_vanish: bool = False

    def __setstate__(self, state: list[Any]) -> None:
        """Unpickle, also what an earlier release has pickled: it has no kinds."""
        fill(self, state)

    @property
    def promised(self) -> ModelFamily:
        """What requests may ask this model for, and its checkpoint has to be able to."""
        return FAMILIES[self.family].offering(self.sizes)

    @property
    def gpus(self) -> int:
        return self.settings.gpus_per_worker

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ when anything differs that a running worker would not notice."""
        secret = self.s3.secret_key.get_secret_value() if self.s3.secret_key is not None else ""
        sections = (self.s3, self.log, self.finish, self.moderation, self.settings.as_loaded, self.engine)
        adapters = {name: adapter.model_dump_json() for name, adapter in sorted(self.adapters.items())}
        told = [self.model, self.family, self.sizes, self.source, self.cache, adapters, secret]
        told += [self.resource] if self.resource is not None else []
        dumped = (section.model_dump_json() for section in sections)
        return hashlib.sha256(repr([*map(str, told), *dumped]).encode()).hexdigest()[:16]


class Workers(Protocol):
    """The workers of one cluster in one deployment's namespace.

    Calls raise `WorkerUnreachable`, `WorkerLost` or `StaleEpoch`; none of them waits on a render.
    """

    async def list_workers(self) -> list[str]:
        """Names of the workers that exist now, whoever started them."""
        ...

    async def nodes(self) -> Mapping[str, str]:
        """On which node each worker of a kind is, by its name; what has no node yet is left out."""
        ...

    async def hosts(self) -> Mapping[str, Sequence[str]]:
        """Each host that has GPUs, by its own name, and the names of the workers there, also other deployments'."""
        ...

    async def leftovers(self) -> list[str]:
        """Names for which GPUs are held or asked for though no worker of that name exists; `kill` gives them back."""
        ...

    async def start(self, plan: WorkerPlan) -> None:
        """Start a worker, detached; does nothing when one of that name exists."""
        ...

    async def kill(self, name: str, *, restart: bool) -> None:
        """End its process now. With `restart` it comes back as a new incarnation; without, it is gone."""
        ...

    async def poll(self, name: str, caller: Caller, *, version: int, timeout_s: float) -> WorkerStatus:
        """The worker's state, as soon as its version differs from `version`, or after `timeout_s`."""
        ...

    async def assign(self, name: str, caller: Caller, assignment: Assignment) -> Answer: ...

    async def cancel(self, name: str, caller: Caller, token: UUID) -> None:
        """Stop a render within one denoise step; it ends as `Stopped`. Unknown tokens are ignored."""
        ...

    async def evict(self, name: str, caller: Caller, token: UUID) -> None:
        """Hand a render back at the next step: checkpointed, released, ended as `HandedBack`. Unknown ones are ignored.

        One that has not begun ends as `Stopped`; one whose frames are being finished ends as it would.
        """
        ...

    async def forget(self, name: str, caller: Caller, token: UUID) -> None:
        """Drop an ended render. Unknown tokens are ignored."""
        ...

    async def drain(self, name: str, caller: Caller, *, within_s: float | None = None) -> None:
        """Accept no more assignments; what is held goes on to its end, or is evicted when `within_s` is over."""
        ...
