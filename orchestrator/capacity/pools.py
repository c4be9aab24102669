"""Pausing pools and the whole queue, for operators; and what the processes show and log of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField, NotFound
from orchestrator.domain.pausing import EVERY, Pause, pause_over
from orchestrator.domain.states import JobState
from orchestrator.domain.texts import check_text, is_blank
from orchestrator.kit.readings import Reading
from orchestrator.ports import QueueDepth
from orchestrator.telemetry import logs, metrics

_MAX_REASON_CHARS = 200
# How old the counts may be that everybody who looks is shown, as each reading counts all that waits; and how long a
# reader waits for newer.
_FRESH_S, _PATIENCE_S = 2.0, 3.0

_log = logs.get("pools")


class PauseStore(Protocol):
    """The part of `JobStore` that this needs."""

    async def pause(self, pool: str, *, reason: str, by: str) -> None: ...

    async def resume(self, pool: str, *, by: str) -> bool: ...

    async def pauses(self) -> list[Pause]: ...

    async def queue_depth(self) -> list[QueueDepth]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A configured pool. `paused` holds its own pause and that of the whole queue, where they stand."""

    name: str
    model: str
    paused: Sequence[Pause]
    queued: int
    running: int


class Pools:
    """The pools of the configuration, and what operators may do to them. `by` says who does it."""

    def __init__(self, settings: Settings, store: PauseStore) -> None:
        self._pools = settings.pools
        self._store = store
        nothing: list[QueueDepth] | None = None
        self._depth = Reading("pools", store.queue_depth, nothing, fresh_s=_FRESH_S, patience_s=_PATIENCE_S)

    async def pause(self, name: str, *, reason: str, by: str) -> None:
        """Claim nothing more of a pool, or of any (`EVERY`); what runs goes on. `reason` is shown to whoever waits."""
        if is_blank(reason):
            raise InvalidField("must say why, for whoever waits", param="reason")
        check_text(reason, "reason", max_chars=_MAX_REASON_CHARS)
        if "\n" in reason or "\r" in reason:
            raise InvalidField("must be one line", param="reason")
        await self._store.pause(self.check(name), reason=reason.strip(), by=by)

    async def resume(self, name: str, *, by: str) -> bool:
        """End the pause of a pool, or the one of all; False when none stands.

        Each ends by itself: a pool that was paused on its own stays so when the whole queue is resumed.
        """
        # A pool that was configured away while it was paused may be resumed all the same.
        if name not in {pause.pool for pause in await self._store.pauses()}:
            self.check(name)
        return await self._store.resume(name, by=by)

    async def list(self) -> list[Pool]:
        """Every configured pool, what is paused, and what waited and ran there at most seconds ago."""
        standing = [pause for pause in await self._store.pauses() if pause.stands]
        counted = await self._depth.now()
        if counted is None:
            counted = await self._store.queue_depth()
        depth = {(each.pool, each.state): each.count for each in counted}
        return [
            Pool(
                name=name,
                model=pool.model,
                paused=[pause for pause in standing if pause.pool in (EVERY, name)],
                queued=depth.get((name, JobState.QUEUED), 0),
                running=depth.get((name, JobState.RUNNING), 0),
            )
            for name, pool in self._pools.items()
        ]

    def check(self, name: str) -> str:
        """The name of a configured pool, or `EVERY`. Raises `NotFound` for any other."""
        if name != EVERY and name not in self._pools:
            raise NotFound(f"no pool {name[:80]!r}; this deployment has: {', '.join(self._pools)}", param="pool")
        return name


class PauseWatch:
    """Shows every pool's pause as a metric, and logs each change that it sees, whoever made it and where."""

    def __init__(self, pools: Collection[str], store: PauseStore) -> None:
        self._pools = pools
        self._store = store
        self._seen: list[Pause] = []

    async def run_once(self) -> None:
        """Read the pauses once. Raises `StoreUnavailable`."""
        pauses = await self._store.pauses()
        metrics.show_pauses({pool: pause_over(pool, pauses) is not None for pool in self._pools})
        for pause in pauses:
            if pause in self._seen:
                continue
            if pause.stands:
                _log.info("pause_seen", pool=pause.pool, reason=pause.reason, by=pause.paused_by)
            elif self._seen:
                _log.info("resume_seen", pool=pause.pool, by=pause.resumed_by)
        self._seen = pauses
