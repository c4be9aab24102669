"""Fills a campaign's window: the next rows become jobs, within its room, its budgets and its tenant's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from orchestrator.domain.campaign import Pass, Row, RowError
from orchestrator.domain.campaign_ids import row_job_id
from orchestrator.domain.errors import LimitExceeded, RequestError, Unavailable
from orchestrator.domain.job import NewJob
from orchestrator.domain.texts import storable
from orchestrator.domain.trace import of_row
from orchestrator.ports.campaign_values import Found, Hold, Short, Submission
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.rows.engine import RETRY_S, WATCH_S
from orchestrator.telemetry import aside, tracing
from orchestrator.telemetry.tracing import Kind

# Rows that are made ready at once: what that needs (pictures, moderation) is waited for together.
CHUNK = 64
LONGEST_PAUSE_S = 30.0
# A line that we could not deal with, whosever fault that is; the log has more.
BROKEN = RowError(code="internal_error", message="this request could not be dealt with: internal error")
_GIVEN_UP = "what this row needs has not answered for long"


@dataclass(frozen=True, slots=True)
class Later:
    """A row that cannot be submitted now, and when trying again may help, in seconds."""

    pause_s: float
    # What it needs and does not get; None where its tenant's limits have no room.
    error: Unavailable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a refill has come to."""

    jobs: int = 0
    # Nothing is left to go through.
    through: bool = False
    short: Short | None = None
    # When there may be more to do; 0 is at once.
    pause_s: float = WATCH_S
    # When the tenant's limits may have room again, unless something ends before.
    again_s: float | None = None


# The job of a row in a pass, under the id that it has to have.
Prepare = Callable[[Hold, Pass, Row, UUID], Awaitable[NewJob]]
# What has to be read before that: for all of these rows together, or for the first of them.
Load = Callable[[Hold, Found], Awaitable[Found]]


class Refill:
    """Submits rows. Pictures, moderation and templates come first; then one transaction reserves and inserts."""

    def __init__(self, store: CampaignStore, prices: Mapping[str, float]) -> None:
        self._store = store
        # Money for one GPU second, by pool.
        self.prices = prices

    async def fill(self, hold: Hold, *, room: int, seats: int, prepare: Prepare, load: Load | None = None) -> Filled:
        """Submit up to `room` rows, those beyond `seats` as held ones; one chunk of the first pass."""
        passes = await self._store.open_passes(hold)
        if not passes:
            return Filled(through=True)
        if room <= 0:
            return Filled()
        wanted = passes[0]
        found = await self._store.find_rows(hold, wanted, limit=min(CHUNK, room))
        if load is not None:
            found = await load(hold, found)
        results = await asyncio.gather(*(self._ready(hold, wanted, row, prepare) for _, row in found.rows))
        return await self._submit(hold, wanted, found, results, seats)

    async def _submit(
        self, hold: Hold, wanted: Pass, found: Found, results: Sequence[NewJob | RowError | Later], seats: int
    ) -> Filled:
        submissions: list[Submission] = []
        refused: list[tuple[Row, RowError]] = []
        later: list[int] = []
        pauses: list[float] = []
        put_off = False
        # Where nothing else is left to submit, a row that is in the way for long ends: the rest waits for it.
        given_up = wanted.stuck and found.last and not any(isinstance(result, NewJob) for result in results)
        for (ordinal, row), result in zip(found.rows, results, strict=True):
            match result:
                case NewJob():
                    job = replace(result, held=len(submissions) >= seats)
                    price = self.prices.get(job.pool, 0.0)
                    submissions.append(Submission(row=row, ordinal=ordinal, job=job, price=price))
                case RowError():
                    refused.append((row, result))
                case Later(error=Unavailable() as error) if given_up:
                    refused.append((row, RowError(code="unavailable", message=storable(f"{_GIVEN_UP}: {error}"))))
                case Later():
                    later.append(ordinal)
                    pauses.append(result.pause_s)
                    put_off |= result.error is not None
        cursor = min(later, default=found.upto)
        done = found.last and not later
        submitted = await self._store.submit_rows(
            hold, wanted, submissions, refused, cursor=cursor, done=done, put_off=put_off
        )
        pause_s = WATCH_S if submitted.short else min(max(pauses, default=0.0), LONGEST_PAUSE_S)
        return Filled(jobs=submitted.jobs, short=submitted.short, pause_s=pause_s, again_s=submitted.pause_s)

    async def _ready(self, hold: Hold, wanted: Pass, row: Row, prepare: Prepare) -> NewJob | RowError | Later:
        """One row's job, the reason why it gets none, or that it has to wait."""
        campaign = hold.campaign
        job_id = row_job_id(
            campaign.id, campaign.created_at, row.place, number=wanted.number, generation=campaign.generation
        )
        try:
            # A trace of its own, which links to the campaign's: one of a million rows nobody could read.
            asked = of_row(campaign.trace)
            about = {"cogmill.campaign": campaign.id, "cogmill.tenant": campaign.tenant, "cogmill.job": job_id.hex}
            with tracing.span("row", about, root=True, links=[asked] if asked else (), kind=Kind.PRODUCER):
                job = await prepare(hold, wanted, row, job_id)
                return replace(job, campaign=campaign.id, made_by=campaign.made_by, trace=tracing.kept())
        except LimitExceeded as error:
            return row_error(error) if error.retry_after_s is None else Later(max(error.retry_after_s, WATCH_S))
        except RequestError as error:
            return row_error(error)
        except Unavailable as error:
            return Later(RETRY_S, error)
        except Exception as error:
            aside.put("batch_lines", error, campaign=campaign.id, line=row.line)
            return BROKEN


def row_error(error: RequestError) -> RowError:
    """Why a row has no video, in words that JSON in the database can hold."""
    param = None if error.param is None else storable(error.param)
    return RowError(code=error.code, message=storable(error.message), param=param)
