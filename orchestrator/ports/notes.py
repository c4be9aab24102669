"""The store of what people write down: notes about jobs and campaigns, and filters that they keep by a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job_filter import JobFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNote:
    """What is written down."""

    id: str
    tenant: str
    # The public id of a job or a campaign.
    about: str
    body: str
    # Who acts, for machines and for people.
    author: str
    written_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(NewNote):
    """What was written down."""

    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePage:
    """Some notes, newest first."""

    notes: Sequence[Note]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSaved:
    """A filter that is to be kept."""

    tenant: str
    name: str
    wanted: JobFilter
    author: str
    saved_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(NewSaved):
    """A filter that is kept."""

    saved_at: datetime


class NoteStore(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def add_note(self, new: NewNote, *, most_about: int, most: int) -> Note:
        """Raises `LimitExceeded` for one too many about it, or of the tenant's; `NotFound` for what is not its."""
        ...

    async def list_notes(self, tenant: str, about: str, *, limit: int, after: str | None = None) -> NotePage: ...

    async def delete_note(self, note_id: str, tenant: str) -> bool: ...

    async def prune_notes(self, *, limit: int) -> int:
        """Delete notes about what is there no more; how many. To be called again where it was the limit."""
        ...

    async def save_filter(self, new: NewSaved, *, most: int) -> Saved:
        """In the place of the one with that name. Raises `LimitExceeded` for one too many."""
        ...

    async def saved_filters(self, tenant: str) -> Sequence[Saved]: ...

    async def drop_filter(self, tenant: str, name: str) -> bool: ...
