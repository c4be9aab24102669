"""Group commit: submissions that arrive together share one INSERT and one fsync, and each learns its own fate.

Most batches are that one statement. What it leaves out is a repetition, or belongs to a tenant whose jobs have to be
counted first: `orchestrator/store/admission.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import cast

from sqlalchemy.exc import DBAPIError

from orchestrator.domain.errors import CogmillError, InvalidField, StoreRefused, StoreUnavailable, TenantErased
from orchestrator.domain.job import Job, NewJob
from orchestrator.policy.limits import Limits
from orchestrator.store import admission
from orchestrator.store.admission import Fates
from orchestrator.store.engine import Database, blames_caller
from orchestrator.store.wakeups import Notifier

_Seat = tuple[NewJob, "asyncio.Future[Job]"]

_FLIGHTS = 2
_SEATS = 64


class Submissions:
    """The jobs that wait for a seat. A flight takes off at once when one of two is free; what arrives meanwhile waits.

    Two flights overlap one's fsync with the other's work; more only fight over the same WAL page.
    """

    def __init__(self, database: Database, notifier: Notifier, defaults: Limits) -> None:
        self._database = database
        self._notifier = notifier
        self._defaults = defaults
        self._waiting: deque[_Seat] = deque()
        self._flights: set[asyncio.Task[None]] = set()

    async def submit(self, job: NewJob) -> Job:
        """The inserted job, or the first one of its key. A caller that is cancelled before take-off leaves no row."""
        landed: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, landed))
        if len(self._flights) < _FLIGHTS:
            self._flights.add(asyncio.create_task(self._fly()))
        return await landed

    async def close(self) -> None:
        """Wait until all that was accepted has landed."""
        while self._flights:
            await asyncio.gather(*self._flights)

    async def _fly(self) -> None:
        try:
            while seats := self._board():
                await self._carry(seats)
        finally:
            # At once, not when the task is done: a submit in between would count us in, and wait for nobody.
            self._flights.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _carry(self, seats: list[_Seat]) -> None:
        """Insert a batch and tell each caller its own fate."""
        try:
            fates = await self._insert_surely([job for job, _ in seats])
            for job, landed in seats:
                _land(landed, fates[job.id])
            self._notifier.announce()
        except (InvalidField, TenantErased) as error:
            await self._carry_singly(seats, error)
        except Exception as error:
            _refuse(seats, error)

    def _board(self) -> list[_Seat]:
        seats: list[_Seat] = []
        while self._waiting and len(seats) < _SEATS:
            job, landed = self._waiting.popleft()
            if not landed.done():
                seats.append((job, landed))
        return seats

    async def _carry_singly(self, seats: list[_Seat], error: InvalidField | TenantErased) -> None:
        """One row that PostgreSQL refuses fails the whole statement: give every row its own, so only that one fails."""
        if len(seats) == 1:
            _refuse(seats, error)
            return
        for seat in seats:
            job, landed = seat
            try:
                fates = await self._insert_surely([job])
                _land(landed, fates[job.id])
                self._notifier.announce()
            except CogmillError as own:
                _refuse([seat], own)

    async def _insert_surely(self, batch: Sequence[NewJob]) -> Fates:
        """Insert, and once more when the connection broke: the first commit may have gone through unheard."""
        try:
            return await self._insert(batch)
        except StoreRefused:
            return await self._insert(batch)
        except StoreUnavailable as lost:
            try:
                return await self._insert(batch)
            except StoreRefused as error:  # which says nothing of the first time
                raise StoreUnavailable(str(error)) from lost

    async def _insert(self, batch: Sequence[NewJob]) -> Fates:
        fates: Fates = {}
        try:
            if not self._defaults.bounds_queue:
                fates |= await admission.insert_unbounded(self._database, batch)
            while rest := [job for job in batch if job.id not in fates]:
                fates |= await self._database.transact(partial(admission.admit, rest, self._defaults))
        except StoreRefused as error:
            if fates:  # some of the batch are in
                raise StoreUnavailable(str(error)) from error
            raise
        except DBAPIError as error:
            if not blames_caller(error):
                raise StoreUnavailable(f"PostgreSQL: {error.orig}") from error
            raise InvalidField(f"the database cannot hold this job: {error.orig}", param=None) from error
        return fates


def _land(landed: asyncio.Future[Job], fate: Job | CogmillError) -> None:
    if landed.done():  # its caller left
        return
    if isinstance(fate, Job):
        landed.set_result(fate)
    else:
        landed.set_exception(fate)


def _refuse(seats: Sequence[_Seat], error: Exception) -> None:
    for _, landed in seats:
        if not landed.done():
            landed.set_exception(error)
