"""The eraser: takes tenants' erasures on, round by round, until a round that began late enough finds nothing.

A round goes over everything once, in bounded steps: it cancels what waits or runs, deletes objects, then their rows,
then all other rows. What is killed on the way is taken up by whoever comes next, from what is still there. Objects go
before what leads to them; jobs whose workers may be uploading still are come back to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import Protocol
from uuid import UUID

from orchestrator.domain.errors import ObjectsRefused, ObjectsUnavailable
from orchestrator.domain.objects import job_prefix, tenant_prefixes
from orchestrator.domain.receipt import REMAINS, Receipt, SignedReceipt, hashed
from orchestrator.objects.inputs import GRACE_S
from orchestrator.objects.orphans import delete_all
from orchestrator.ports.erasures import Erasure, ErasureStore, Left, Round
from orchestrator.telemetry import aside, logs
from orchestrator.telemetry.aside import Resting

_log = logs.get("erasing")

# A round that breaks off is taken up by anybody so much later: that is also how often a part that is away is asked.
HOLD_S = 60.0
_JOBS, _PAGE, _ROWS = 100, 1000, 5000
# Jobs whose objects are deleted at the same time.
_AT_ONCE = 8
# Between two looks at what cannot be hurried.
_LOOKS_S, _SELDOM_S = 5.0, 60.0


class Found(Protocol):
    """One object of a listing."""

    @property
    def key(self) -> str: ...

    @property
    def size(self) -> int: ...


class Bucket(Protocol):
    """What erasing asks of the bucket. Calls block, and raise `ObjectsUnavailable`."""

    def list_objects(self, prefix: str) -> Iterable[Found]: ...

    def delete(self, keys: Iterable[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Swept:
    """What one step has deleted, and how many S3 would not."""

    objects: int = 0
    size: int = 0
    refused: int = 0

    def __add__(self, other: Swept) -> Swept:
        return Swept(self.objects + other.objects, self.size + other.size, self.refused + other.refused)


class Eraser:
    """Erases tenants. Several may run side by side.

    `late_s`: so long after the fence, and after a job's end, something may still be uploaded. `own` are the prefixes
    of a tenant alone where its campaigns read and put things, `shared` says which others there are.
    """

    def __init__(
        self,
        store: ErasureStore,
        bucket: Bucket,
        *,
        late_s: float,
        own: Callable[[str], Sequence[str]],
        shared: Sequence[str],
        sign: Callable[[Receipt], SignedReceipt],
        grace_s: float = GRACE_S,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._late_s = late_s
        self._grace_s = grace_s
        self._own = own
        self._shared = shared
        self._sign = sign
        self._refused: Resting[str] = Resting()

    async def run_once(self) -> int:
        """Take every erasure that is due as far as it goes now; how many were finished. Raises `Unavailable`."""
        finished = 0
        while (round_ := await self._store.next_erasure(hold_s=HOLD_S)) is not None:
            with aside.unless_it_breaks("erasures", erasure=round_.erasure.id):
                try:
                    finished += await self.round(round_)
                except ObjectsUnavailable:
                    await self._store.rest(round_, for_s=HOLD_S, waits_for="S3 does not answer")
                    raise
        return finished

    async def round(self, round_: Round) -> bool:
        """Go over everything once; whether that was the last time."""
        done = await self._store.stop_work(round_)
        swept = [await self._videos(round_), await self._again(round_), await self._pictures(round_)]
        own = (*tenant_prefixes(round_.tenant), *self._own(round_.tenant))
        swept += [await self._below(round_, prefix) for prefix in own]
        refused = sum(each.refused for each in swept)
        done += sum(each.objects for each in swept) + await self._store.erase_rows(round_, limit=_ROWS)
        if done:
            await self._store.rest(round_, for_s=0, waits_for=None)
            return False
        left = await self._store.left(round_)
        waits_for, for_s = self._waiting(round_, left, refused)
        if waits_for is None and (closed := await self._store.close_tenant(round_)) is not None:
            await self._finish(round_, closed)
            return True
        await self._store.rest(round_, for_s=for_s, waits_for=waits_for)
        return False

    def _waiting(self, round_: Round, left: Left, refused: int) -> tuple[str | None, float]:
        """What keeps it from its end, for people, and for how long to leave it alone."""
        if left.running:
            return f"{left.running} renders are being stopped", _LOOKS_S
        if refused:
            return f"S3 refuses to list or to delete {refused} of its objects", _SELDOM_S
        late_at = round_.erasure.requested_at + timedelta(seconds=self._late_s)
        if left.due_at is not None or round_.began_at < late_at:
            return "what may still be uploaded or used is looked for once more", _SELDOM_S
        return None, _LOOKS_S

    async def _finish(self, round_: Round, closed: Erasure) -> None:
        salt = token_hex(16)
        others = closed.erased.get("pictures_of_others_too", 0)
        remains = [*REMAINS]
        if others:
            remains.append(("pictures", f"{others} that other tenants have brought, too"))
        remains += [("objects below " + prefix, "the prefix is not one tenant's alone") for prefix in self._shared]
        receipt = Receipt(
            erasure=closed.id,
            salt=salt,
            tenant=hashed(round_.tenant, salt),
            requested_at=closed.requested_at,
            requested_by=closed.requested_by,
            finished_at=round_.began_at,
            usage_kept=closed.keep_usage,
            erased=closed.erased,
            remains=remains,
        )
        signed = self._sign(receipt)
        await self._store.finish_erasure(closed.id, finished_at=round_.began_at, receipt=signed.text)
        _log.info("tenant_erased", erasure=closed.id, **closed.erased)

    async def _videos(self, round_: Round) -> Swept:
        """What jobs that have ended left in the bucket, then the jobs."""
        total, gone = await self._jobs(await self._store.ended_jobs(round_, limit=_JOBS + len(self._refused)))
        dropped = await self._store.forget_jobs(
            round_, gone, objects=total.objects, size=total.size, late_s=self._late_s, grace_s=self._grace_s
        )
        # A job without an object is something done, too.
        return total + Swept(objects=dropped)

    async def _again(self, round_: Round) -> Swept:
        """What came late below jobs that are gone."""
        total, gone = await self._jobs(await self._store.late_jobs(round_, limit=_JOBS + len(self._refused)))
        await self._store.late_jobs_swept(round_, gone, objects=total.objects, size=total.size)
        return total + Swept(objects=len(gone))

    async def _jobs(self, found: Sequence[UUID]) -> tuple[Swept, list[UUID]]:
        """Delete what these jobs have in the bucket; which of them have nothing there any more."""
        ids = [job_id for job_id in found if job_prefix(job_id) not in self._refused][:_JOBS]
        total, gone = Swept(refused=len(found) - len(ids)), list[UUID]()
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            all_swept = await asyncio.gather(*(self._all(job_prefix(job_id)) for job_id in some))
            for job_id, swept in zip(some, all_swept, strict=True):
                total += swept
                if swept.refused:
                    self._refused.add(job_prefix(job_id))
                else:
                    gone.append(job_id)
        return total, gone

    async def _all(self, prefix: str) -> Swept:
        """Everything below a prefix."""
        total = Swept()
        while (swept := await self._some(prefix)).objects:
            total += swept
        return total + swept

    async def _below(self, round_: Round, prefix: str) -> Swept:
        """Some of what lies below a prefix of the tenant's."""
        swept = await self._some(prefix)
        if swept.objects:
            await self._store.objects_erased(round_, objects=swept.objects, size=swept.size)
        return swept

    async def _some(self, prefix: str) -> Swept:
        """Delete a page of what lies below a prefix."""
        try:
            page, skipped = await asyncio.to_thread(self._page, prefix)
        except ObjectsRefused as error:  # it may not even be listed
            aside.put("erasures", error, prefix=prefix)
            return Swept(refused=1)
        return await self._delete(page) + Swept(refused=skipped)

    def _page(self, prefix: str) -> tuple[list[Found], int]:
        """The first objects below a prefix but those that S3 has refused to delete before; and how many these are."""
        if not prefix.strip("/") or not prefix.endswith("/"):
            raise ValueError(f"{prefix!r} is no prefix of one tenant's")
        page, skipped = list[Found](), 0
        for each in self._bucket.list_objects(prefix):
            if each.key in self._refused:
                skipped += 1
                continue
            page.append(each)
            if len(page) == _PAGE:
                break
        return page, skipped

    async def _pictures(self, round_: Round) -> Swept:
        """Pictures that nobody needs any more."""
        due = await self._store.pictures_due(round_, grace_s=self._grace_s, limit=_PAGE + len(self._refused))
        keys = [key for key in due if key not in self._refused][:_PAGE]
        swept = Swept(refused=len(due) - len(keys))
        for key in keys:
            found = await asyncio.to_thread(list, self._bucket.list_objects(key))
            swept += await self._delete([each for each in found if each.key == key])
        gone = [key for key in keys if key not in self._refused]
        await self._store.pictures_swept(round_, gone, objects=swept.objects, size=swept.size)
        return swept + Swept(objects=len(gone))

    async def _delete(self, page: Sequence[Found]) -> Swept:
        if not page:
            return Swept()
        refused = await delete_all(self._bucket, [each.key for each in page], "erasures")
        self._refused.add(*refused)
        gone = [each for each in page if each.key not in refused]
        return Swept(len(gone), sum(each.size for each in gone), len(refused))
