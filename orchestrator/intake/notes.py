"""What people write down beside their jobs and campaigns, and the filters that they keep."""

from __future__ import annotations

from collections.abc import Sequence

from uuid_utils.compat import uuid7

from orchestrator.domain.errors import InvalidField, NotFound
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.texts import check_text, is_blank
from orchestrator.ports.notes import NewNote, NewSaved, Note, NotePage, NoteStore, Saved

MAX_BODY_CHARS = 4_000
MAX_NAME_CHARS = 80
# About one thing, and of one tenant.
MOST_ABOUT, MOST_NOTES = 200, 20_000
MOST_FILTERS = 100
_PRUNED = 1_000


class Notes:
    """A tenant's own. Every call may raise `StoreUnavailable`."""

    def __init__(self, store: NoteStore) -> None:
        self._store = store

    async def add(self, tenant: str, about: str, body: str, *, author: str, written_by: str) -> Note:
        """Write something about a job or a campaign. Raises `NotFound` where it is not the tenant's."""
        _check(body, "body", MAX_BODY_CHARS)
        check_text(about, "about", max_chars=200)
        new = NewNote(
            id=f"note_{uuid7().hex}", tenant=tenant, about=about, body=body, author=author, written_by=written_by
        )
        return await self._store.add_note(new, most_about=MOST_ABOUT, most=MOST_NOTES)

    async def list(self, tenant: str, about: str, *, limit: int, after: str | None = None) -> NotePage:
        """A page of what was written about it, newest first; none about what is not the tenant's."""
        return await self._store.list_notes(tenant, about, limit=limit, after=after)

    async def delete(self, tenant: str, note_id: str) -> None:
        if not await self._store.delete_note(note_id, tenant):
            raise NotFound(f"no note with the id {note_id[:80]!r}")

    async def save_filter(self, tenant: str, name: str, wanted: JobFilter, *, author: str, saved_by: str) -> Saved:
        """Keep a filter under a name, in the place of what was kept under it."""
        _check(name, "name", MAX_NAME_CHARS)
        new = NewSaved(tenant=tenant, name=name, wanted=wanted, author=author, saved_by=saved_by)
        return await self._store.save_filter(new, most=MOST_FILTERS)

    async def filters(self, tenant: str) -> Sequence[Saved]:
        return await self._store.saved_filters(tenant)

    async def drop_filter(self, tenant: str, name: str) -> None:
        if not await self._store.drop_filter(tenant, name):
            raise NotFound(f"no filter with the name {name[:80]!r}")


class NotePruner:
    """Forgets notes about jobs and campaigns that are there no more."""

    def __init__(self, store: NoteStore) -> None:
        self._store = store

    async def run_once(self) -> int:
        """How many."""
        done = 0
        while found := await self._store.prune_notes(limit=_PRUNED):
            done += found
            if found < _PRUNED:
                break
        return done


def _check(value: str, param: str, most: int) -> None:
    check_text(value, param, max_chars=most)
    if is_blank(value):
        raise InvalidField("must not be blank", param=param)
