"""The store of the audit log: read by people, sealed by the maintainer, checked by whoever does not believe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.audit import Change
from orchestrator.domain.audit_chain import Checkpoint, Entry, Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are meant; None is any."""

    actor: str | None = None
    action: str | None = None
    # Of what it was done to, or of whoever did it.
    tenant: str | None = None
    object: str | None = None
    since: datetime | None = None
    # It is not in it.
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some entries; `has_more` when others follow."""

    entries: Sequence[Entry]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsealed:
    """What waits for a seal."""

    count: int
    # Of the oldest; 0 where none waits.
    age_s: float


# The seal of entries behind what is there, at this time. What it raises leaves all as it is.
MakeSeal = Callable[[Sequence[Entry], Seal | Checkpoint | None, datetime], Seal]
# What vouches for a seal, once so many entries are deleted, at this time.
MakeCheckpoint = Callable[[Seal, int, datetime], Checkpoint]


class AuditTrail(Protocol):
    """What is written and read of it. Every method may raise `StoreUnavailable`."""

    async def note(self, change: Change) -> None:
        """Record what changes nothing else, such as what was refused."""
        ...

    async def page_audit(
        self, wanted: AuditFilter, *, limit: int, after: int | None = None, oldest_first: bool = False
    ) -> AuditPage:
        """Entries in the order of their ids, newest first unless told otherwise, behind the entry `after`."""
        ...


class AuditStore(AuditTrail, Protocol):
    """All of it. Every method may raise `StoreUnavailable`; none is half done then."""

    # sealing
    async def seal_audit(self, make: MakeSeal, *, at_most: int) -> Seal | None:
        """Seal the entries whose transaction began before any that goes on; None where there is none, or another seals.

        A transaction that goes on holds up what began to write after it, and nothing is left out.
        """
        ...

    async def unsealed(self) -> Unsealed: ...

    async def prune_audit(self, make: MakeCheckpoint, *, keep_s: float, at_most: int) -> int:
        """Delete the entries of seals that are older, the last one's never; how many. A checkpoint stays in place."""
        ...

    async def accept_audit(self, make: MakeCheckpoint) -> Seal | None:
        """Vouch for the last seal, whoever made it; None where there is none."""
        ...

    # checking
    async def audit_marks(self) -> list[Checkpoint]:
        """In the order of their seals."""
        ...

    async def audit_seals(self, *, after: int, limit: int) -> list[Seal]:
        """In the order of their numbers."""
        ...

    async def last_seal(self) -> Seal | None: ...

    async def audit_entries(self, seals: Sequence[Seal]) -> list[Entry]:
        """What these seals name, and what names them."""
        ...

    async def loose_audit_entries(self, *, limit: int) -> list[Entry]:
        """Those that wait for a seal, and those whose seal is not there; in the order of their ids."""
        ...

    async def audit_erasures(self) -> list[Entry]:
        """The entries of all erasures."""
        ...
