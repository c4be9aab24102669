"""The store of actions on all jobs that match a filter: asked for once, carried on in steps, whatever crashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from orchestrator.domain.audit import Actor
from orchestrator.domain.bulk import BulkState, Verb
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.ports.job_search import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBulk:
    """What is asked for."""

    id: str
    # The tenant of whoever asks.
    owner: str
    # Asked with an administrator's scope: of the filter's tenant, or of all. Else that is the owner.
    administrative: bool = False
    verb: Verb
    wanted: JobFilter
    # The new one, where that is what is asked for.
    priority: int | None = None
    actor: Actor
    # The same in words for people.
    asked_by: str
    # How many jobs there are by then, as they were counted.
    expected: Count
    idempotency_key: str | None = None
    request_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """An action, and how far it has come."""

    id: str
    owner: str
    administrative: bool
    verb: Verb
    wanted: JobFilter
    priority: int | None
    actor: Actor
    asked_by: str
    # Of what matched then it is about: jobs that came later are left alone.
    asked_at: datetime
    expected: Count
    state: BulkState
    # Behind which job it goes on, in the order of ids.
    cursor: UUID | None
    # Jobs that matched so far, and those of them that it was done to.
    matched: int
    done: int
    # Why it was not done, and to how many: what has moved on by itself, and what was refused.
    skipped: Mapping[str, int]
    failed: Mapping[str, int]
    # Some of the latter: `{"job": ..., "code": ..., "message": ...}`.
    examples: Sequence[Mapping[str, str]]
    # Why it rests for a while.
    waits_for: str | None
    ended_at: datetime | None
    request_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPage:
    """Some actions, newest first."""

    actions: Sequence[Bulk]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A job that matched when it was asked for."""

    job_id: UUID
    tenant: str
    # As it stands by now.
    state: JobState
    campaign: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The next jobs that an action comes to."""

    matches: Sequence[Match]
    # The last job that was read; None: there are no more.
    cursor: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one step came to."""

    cursor: UUID | None
    matched: int = 0
    done: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    examples: Sequence[Mapping[str, str]] = ()
    # Nothing comes behind it.
    ended: bool = False
    # Why it rests, and for how long.
    waits_for: str | None = None
    rests_s: float = 0.0
    # How many that waited were cancelled, by their pool.
    cancelled: Mapping[str, int] = field(default_factory=dict)


class BulkStore(Protocol):
    """Every method may raise `StoreUnavailable`; none is half done then."""

    async def add_bulk(self, new: NewBulk, *, most: int) -> Bulk:
        """The action, recorded in the audit log where it is an administrator's; or the first one of its key.

        Raises `LimitExceeded` where `most` of its owner's are running.
        """
        ...

    async def get_bulk(self, bulk_id: str, owner: str | None) -> Bulk | None:
        """One of this owner's own; of any administrator's where it is None."""
        ...

    async def list_bulk(self, owner: str | None, *, limit: int, after: str | None = None) -> BulkPage: ...

    async def cancel_bulk(self, bulk_id: str, owner: str | None) -> Bulk | None:
        """Do no more of it; what was done stays. Without effect on one that has ended."""
        ...

    async def take_bulk(self, token: UUID, *, lease_s: float) -> Bulk | None:
        """The one that nobody carries on, longest at rest; it is this token's for so long."""
        ...

    async def next_of_bulk(self, bulk: Bulk, *, limit: int) -> Stretch: ...

    async def carry_bulk(self, bulk: Bulk, token: UUID, stretch: Stretch) -> Progress | None:
        """Cancel the matches of a stretch, or change their priority, and note it, in one transaction.

        None, and nothing is done, where the token's lease is over.
        """
        ...

    async def note_bulk(self, bulk: Bulk, token: UUID, progress: Progress) -> bool:
        """Note what a step came to, and give the lease up; False where it was over."""
        ...

    async def prune_bulk(self, *, keep_s: float) -> int:
        """Forget what ended so long ago; how many."""
        ...
