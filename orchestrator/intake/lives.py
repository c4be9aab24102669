"""What befell one job of any tenant, from its request to its last webhook; and why it waits, if it does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Job, parse_public_id
from orchestrator.domain.life import Life
from orchestrator.ports.lives import LifeReader


class Teller(Protocol):
    """The part of `Waiting` that this needs."""

    async def told_with_turn(self, job: Job) -> Job: ...


class Lives:
    def __init__(self, store: LifeReader, waiting: Teller) -> None:
        self._store = store
        self._waiting = waiting

    async def of(self, job_id: str) -> Life:
        """By its public id. Raises `NotFound`, and `StoreUnavailable`."""
        known = parse_public_id(job_id)
        found = None if known is None else await self._store.life(known)
        if found is None:
            raise NotFound(f"no job with the id {job_id[:80]!r}")
        return replace(found, job=await self._waiting.told_with_turn(found.job))


def public_form(job_id: str) -> str:
    """An id as logs and SQL have it, in hex digits with or without hyphens, as callers have it; others as they are."""
    digits = job_id.replace("-", "").lower()
    return f"video_{UUID(hex=digits).hex}" if re.fullmatch(r"[0-9a-f]{32}", digits) else job_id
