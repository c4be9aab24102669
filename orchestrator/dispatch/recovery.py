"""Lost claims wait here until S3 has said whether their video is complete, and then end: published, or tried again.

Their own threads and their own loop: however slow S3 is, no worker goes unpolled for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from orchestrator.dispatch.settler import Settler
from orchestrator.domain.errors import ObjectsUnavailable, StoreUnavailable
from orchestrator.domain.job import Claim, VideoResult
from orchestrator.domain.outcome import Lost, Recovered
from orchestrator.objects import results
from orchestrator.ports import ObjectStore, Settled
from orchestrator.telemetry import aside, logs, metrics

_THREADS = 4

_log = logs.get("recovery")


class Recovery:
    """The lost claims of one process. `ended` is told of each that is settled."""

    def __init__(self, settler: Settler, objects: ObjectStore, ended: Callable[[Claim], None]) -> None:
        self._settler = settler
        self._objects = objects
        self._ended = ended
        self._waiting: dict[UUID, tuple[Claim, Lost]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="recovery")

    def add(self, lost: Iterable[tuple[Claim, Lost]]) -> None:
        """Take in claims; one that waits already keeps the reason that it came with."""
        for claim, ending in lost:
            self._waiting.setdefault(claim.token, (claim, ending))

    async def run_once(self) -> int:
        """Examine and end what waits; how many ended. What S3 or the database cannot answer for now waits on."""
        waiting = list(self._waiting.values())
        return sum(await asyncio.gather(*(self._settle(claim, ending) for claim, ending in waiting)))

    async def _found(self, claim: Claim) -> VideoResult | None:
        """The claim's finished video. What breaks the look at it is none: the job is tried again, as without one."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, results.recover, self._objects, claim)
        except ObjectsUnavailable:
            raise
        except Exception as error:
            aside.put("recover", error, **logs.fields(claim))
            return None

    async def _settle(self, claim: Claim, ending: Lost) -> bool:
        try:
            result = await self._found(claim)
            found = Recovered(result=result) if result is not None else ending
            [(_, _, outcome)] = await self._settler.end([(claim, found)])
        except (ObjectsUnavailable, StoreUnavailable) as error:
            _log.warning("lost_claim_waits", error=str(error), **logs.fields(claim))
            return False
        except Exception as error:
            aside.put("recover", error, **logs.fields(claim))
            return False
        if result is not None and outcome.settled is Settled.APPLIED:
            metrics.recovered.inc()
            _log.info("recovered", **logs.fields(claim))
        self._waiting.pop(claim.token, None)
        self._ended(claim)
        return True
