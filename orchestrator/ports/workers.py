"""The workers of one cluster."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

from orchestrator.config import FinishSettings, LogSettings, ModerationSettings, S3Settings
from orchestrator.domain.protocol import Answer, Assignment, Caller, WorkerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """All it takes to start one worker: its name, its pool, the checkpoint to load, and the bucket to upload to.

    `family` names the catalogue's entry; `path` is a diffusers checkpoint's directory on the worker's node.
    """

    name: str
    pool: str
    model: str
    family: str
    path: Path
    s3: S3Settings
    log: LogSettings = field(default_factory=LogSettings)
    finish: FinishSettings = field(default_factory=FinishSettings)
    moderation: ModerationSettings = field(default_factory=ModerationSettings)
    gpus: int = 1

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ when anything differs that a running worker would not notice."""
        secret = self.s3.secret_key.get_secret_value() if self.s3.secret_key is not None else ""
        sections = (self.s3, self.log, self.finish, self.moderation)
        told = (self.model, self.family, self.path, self.gpus, secret, *(s.model_dump_json() for s in sections))
        return hashlib.sha256(repr(tuple(map(str, told))).encode()).hexdigest()[:16]


class WorkerPool(Protocol):
    """The workers of one cluster in one deployment's namespace.

    Calls raise `WorkerUnreachable`, `WorkerLost` or `StaleEpoch`; none of them waits on a render.
    """

    async def list_workers(self) -> list[str]:
        """Names of the workers that exist now, whoever started them."""
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

    async def release(self, name: str, caller: Caller, token: UUID) -> bool:
        """Take back an assignment that has not started; it ends as `Stopped`. False when it has, or is not held."""
        ...

    async def cancel(self, name: str, caller: Caller, token: UUID) -> None:
        """Stop a render within one denoise step; it ends as `Stopped`. Unknown tokens are ignored."""
        ...

    async def forget(self, name: str, caller: Caller, token: UUID) -> None:
        """Drop an ended render. Unknown tokens are ignored."""
        ...

    async def drain(self, name: str, caller: Caller) -> None:
        """Accept no more assignments; what is held goes on to its end."""
        ...
