"""Keeps everybody who watches a job up to date: one reading of all watched jobs, for as long as there are any."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.events import place_of
from orchestrator.domain.job import Job
from orchestrator.notify import watching
from orchestrator.notify.watching import Watches
from orchestrator.ports import Snapshot
from orchestrator.telemetry import aside

Watch = watching.Watch[UUID, Snapshot]


class SnapshotReader(Protocol):
    """The one part of `JobStore` that the feed needs."""

    async def snapshots(self, ids: Collection[UUID]) -> Mapping[UUID, Snapshot]: ...


def _place(snapshot: Snapshot) -> object:
    return place_of(snapshot.job)


class Feed:
    """`run_once` reads what is watched, in one statement however many watch; while nobody does, it waits."""

    def __init__(self, store: SnapshotReader, *, watchers: int) -> None:
        self._store = store
        self._watches = Watches[UUID, Snapshot]("videos", _place, most=watchers)

    def watch(self, job: Job, most: float | None = None) -> AbstractContextManager[Watch]:
        """Watch a job until the block ends. Raises `LimitExceeded` when too many watch, or `most` of its tenant's."""
        return self._watches.watch(job.id, job.tenant, most)

    def end_all(self) -> None:
        """End every watch that there is: this process stops, and another one may be asked."""
        self._watches.end_all()

    async def run_once(self) -> None:
        """Read every watched job and wake those whose job has moved. Raises `StoreUnavailable`."""
        asked = await self._watches.asked()
        try:
            self._show(asked, await self._store.snapshots(asked))
        except Unavailable:
            raise
        except Exception:  # one job breaks the reading of all: each by itself, and its watchers alone hear nothing new
            for job_id, watches in asked.items():
                with aside.unless_it_breaks("feed", job=job_id.hex):
                    self._show({job_id: watches}, await self._store.snapshots([job_id]))

    def _show(self, asked: Mapping[UUID, Collection[Watch]], found: Mapping[UUID, Snapshot]) -> None:
        for job_id, watches in asked.items():
            for watch in watches:
                watch.show(found.get(job_id))
