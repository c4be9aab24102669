"""Actions on all jobs that match a filter: asked for, looked at, called off; and carried on, a stretch at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from orchestrator.domain.bulk import ACTED_ON, Verb, passed_over
from orchestrator.domain.errors import InvalidField, LimitExceeded, NotFound, RequestError, Unavailable
from orchestrator.domain.job import Job, public_id
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.request import fingerprint_of
from orchestrator.domain.states import JobState
from orchestrator.domain.texts import check_key
from orchestrator.ports.bulk import Bulk, BulkPage, BulkStore, Match, NewBulk, Progress, Stretch
from orchestrator.ports.job_search import Count, JobSearchStore
from orchestrator.telemetry import acting, aside, logs, metrics
from orchestrator.tenants.rates import TenantLimits

_log = logs.get("bulk")

# Of one tenant's, that go on at a time.
MOST_RUNNING = 5
# Jobs of one step: what one short transaction locks; and what is submitted beside each other.
_STEP, _RETRIES = 500, 20
_LEASE_S = 60.0
# Steps that one call makes before the next action has its turn.
_STEPS = 40
_REST_S = 10.0, 300.0


class BulkAndSearch(BulkStore, JobSearchStore, Protocol):
    """The parts of the store that this needs."""


class Bulks:
    """What is asked for. An id of nobody's or of another's raises `NotFound`."""

    def __init__(self, store: BulkAndSearch, limits: TenantLimits) -> None:
        self._store = store
        self._limits = limits

    async def expected(self, verb: Verb, wanted: JobFilter) -> Count:
        """To how many jobs it would be done. Raises `InvalidField` where it can be done to none that are wanted."""
        states = _able(verb, wanted)
        counts = await self._store.count_jobs(wanted)
        found = [counts[state] for state in states]
        return Count(sum(each.count for each in found), any(each.about for each in found))

    async def ask(
        self,
        owner: str,
        verb: Verb,
        wanted: JobFilter,
        *,
        priority: int | None,
        asked_by: str,
        administrative: bool = False,
        idempotency_key: str | None = None,
    ) -> Bulk:
        """Begin one. Raises `LimitExceeded` for one too many, or a priority that the owner may not ask for."""
        await self._check_priority(owner, verb, priority, administrative)
        check_key(idempotency_key)
        said = {"action": verb, "priority": priority, "filter": wanted.to_dict()}
        new = NewBulk(
            id=f"bulk_{uuid7().hex}",
            owner=owner,
            administrative=administrative,
            verb=verb,
            wanted=wanted,
            priority=priority,
            actor=acting.current(),
            asked_by=asked_by,
            expected=await self.expected(verb, wanted),
            idempotency_key=idempotency_key,
            request_hash=None if idempotency_key is None else fingerprint_of(said),
        )
        made = await self._store.add_bulk(new, most=MOST_RUNNING)
        if made.id == new.id:
            _log.info("bulk_action_asked", bulk=made.id, tenant=wanted.tenant, action=verb, expected=new.expected.count)
        return made

    async def get(self, bulk_id: str, owner: str | None) -> Bulk:
        return _found(await self._store.get_bulk(bulk_id, owner), bulk_id)

    async def list(self, owner: str | None, *, limit: int, after: str | None = None) -> BulkPage:
        return await self._store.list_bulk(owner, limit=limit, after=after)

    async def cancel(self, bulk_id: str, owner: str | None) -> Bulk:
        """Do no more of it. What was done stays."""
        return _found(await self._store.cancel_bulk(bulk_id, owner), bulk_id)

    async def _check_priority(self, owner: str, verb: Verb, priority: int | None, administrative: bool) -> None:
        if (verb is Verb.PRIORITY) != (priority is not None):
            message = "is missing" if verb is Verb.PRIORITY else "goes with the action `priority` alone"
            raise InvalidField(message, param="priority")
        if priority is not None and not administrative:
            (await self._limits.of(owner)).urgency(priority, priority)


class _Broke(RequestError):
    """What nobody foresaw."""

    code = "internal_error"


class JobsAgain(Protocol):
    """The part of `Jobs` that tries again."""

    async def retry(self, tenant: str, video_id: str, *, idempotency_key: str | None = None) -> Job: ...


class BulkCarrier:
    """Carries actions on. Any number may run: each is one's for a while, and what was done is done once."""

    def __init__(self, store: BulkStore, jobs: JobsAgain) -> None:
        self._store = store
        self._jobs = jobs

    async def run_once(self) -> int:
        """Take an action up and carry it on for some steps; to how many jobs it was done."""
        done = 0
        for _ in range(_STEPS):
            token = uuid4()
            bulk = await self._store.take_bulk(token, lease_s=_LEASE_S)
            if bulk is None:
                return done
            with aside.unless_it_breaks("bulk_actions", bulk=bulk.id), acting.acting(bulk.actor):
                done += await self._step(bulk, token)
        return done

    async def _step(self, bulk: Bulk, token: UUID) -> int:
        limit = _RETRIES if bulk.verb is Verb.RETRY else _STEP
        stretch = await self._store.next_of_bulk(bulk, limit=limit)
        if bulk.verb is Verb.RETRY:
            progress = await self._retried(bulk, stretch)
            return progress.done if await self._store.note_bulk(bulk, token, progress) else 0
        carried = await self._store.carry_bulk(bulk, token, stretch)
        if carried is None:
            return 0
        for pool, number in carried.cancelled.items():
            metrics.jobs_ended.labels(pool, JobState.CANCELLED).inc(number)
        return carried.done

    async def _retried(self, bulk: Bulk, stretch: Stretch) -> Progress:
        able = [match for match in stretch.matches if _passed(match) is None]
        ends = await asyncio.gather(*(self._retry(bulk, match) for match in able))
        full = next(
            (place for place, end in enumerate(ends) if isinstance(end, LimitExceeded) and _may_pass(end)), None
        )
        # From there on once there is room: who was behind it has its job by its key already. Of all tenants' jobs, one
        # that is full would hold up the others.
        if full is not None and bulk.wanted.tenant is not None:
            return _until(stretch, able, ends, full, bulk)
        return _noted(stretch.matches, able, ends, stretch.cursor, ended=stretch.cursor is None)

    async def _retry(self, bulk: Bulk, match: Match) -> RequestError | None:
        """None: there is a job like it. The key makes it the same one, however often this is asked."""
        try:
            key = f"{bulk.id}:{match.job_id.hex}"
            await self._jobs.retry(match.tenant, public_id(match.job_id), idempotency_key=key)
        except RequestError as error:
            return error
        except Unavailable:
            raise  # no job's fault: the whole step is made again
        except Exception as error:  # one that breaks in a way that nobody foresaw holds up no other
            aside.put("bulk_actions", error, bulk=bulk.id, job=match.job_id.hex)
            return _Broke("a bug of ours")
        return None


def _passed(match: Match) -> str | None:
    return passed_over(Verb.RETRY, match.state, of_campaign=match.campaign is not None)


def _may_pass(error: LimitExceeded) -> bool:
    return error.retry_after_s is not None


def _until(
    stretch: Stretch, able: Sequence[Match], ends: Sequence[RequestError | None], full: int, bulk: Bulk
) -> Progress:
    place = next(at for at, match in enumerate(stretch.matches) if match is able[full])
    cursor = stretch.matches[place - 1].job_id if place else bulk.cursor
    error = ends[full]
    assert isinstance(error, LimitExceeded)  # that is how it was found
    shortest, longest = _REST_S
    noted = _noted(stretch.matches[:place], able[:full], ends[:full], cursor, ended=False)
    return replace(noted, waits_for=error.message, rests_s=max(shortest, min(longest, error.retry_after_s or shortest)))


def _noted(
    matches: Sequence[Match],
    able: Sequence[Match],
    ends: Sequence[RequestError | None],
    cursor: UUID | None,
    *,
    ended: bool,
) -> Progress:
    failed = [(match, end) for match, end in zip(able, ends, strict=True) if end is not None]
    return Progress(
        cursor=cursor,
        matched=len(matches),
        done=len(able) - len(failed),
        skipped=Counter(reason for match in matches if (reason := _passed(match)) is not None),
        failed=Counter(_code(end) for _, end in failed),
        examples=[{"job": public_id(m.job_id), "code": _code(end), "message": end.message[:300]} for m, end in failed],
        ended=ended,
    )


def _code(error: RequestError) -> str:
    return f"limit_{error.limit}" if isinstance(error, LimitExceeded) else error.code


def _able(verb: Verb, wanted: JobFilter) -> frozenset[JobState]:
    states = ACTED_ON[verb] & (wanted.states or frozenset(JobState))
    if not states:
        able = ", ".join(sorted(ACTED_ON[verb]))
        raise InvalidField(
            f"none of these states goes with {verb}: it is for jobs that are {able}", param="filter.state"
        )
    return states


def _found(bulk: Bulk | None, bulk_id: str) -> Bulk:
    if bulk is None:
        raise NotFound(f"no bulk action with the id {bulk_id[:80]!r}")
    return bulk
