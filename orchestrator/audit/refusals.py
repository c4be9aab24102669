"""What was refused at the door: counted over a while, in bounded memory, and written into the audit log together.

Who tries a million keys makes some rows a minute, and no more; and who tries one among a million strangers is counted
with the strangers, unless it is one of those that tried most.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from typing import Protocol

from orchestrator.domain.addresses import IPAddress
from orchestrator.domain.audit import NOBODY, Action, Actor, Change, Outcome
from orchestrator.ports import ApiKey
from orchestrator.telemetry import acting, aside, logs, metrics

_log = logs.get("audit")

# Between two writes.
FLUSH_EVERY_S = 60.0
# Kinds of refusals that are told apart in that time; of each action, those that are written, by how often they came;
# and lines of the log about single ones.
_GROUPS = 1_000
_WRITTEN = 20
_LINES = 20


@dataclass(frozen=True, slots=True)
class _Group:
    """Refusals that are counted together."""

    action: Action
    reason: str
    actor: Actor
    object: str
    tenant: str | None = None

    @property
    def together(self) -> _Group:
        """That of all such refusals, whoever it was."""
        return _Group(self.action, self.reason, NOBODY, "many")


class RefusalStore(Protocol):
    """The parts of the store that this needs."""

    async def note(self, change: Change) -> None: ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...


class Refusals:
    """One per process. What a process has not written when it dies is lost, which is at most a minute."""

    def __init__(self, store: RefusalStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._begun = monotonic()
        self._counts: Counter[_Group] = Counter()
        self._lines = 0

    def unauthenticated(self, reason: str, address: IPAddress | None, key_id: str | None, request_id: str) -> None:
        """A request had no good key; `key_id` is whose it claims to be."""
        metrics.unauthenticated.labels(reason).inc()
        actor = Actor(name=NOBODY.name, address=None if address is None else network_of(address))
        of = "key" if key_id is None else f"key:{key_id}"
        self._count(_Group(Action.AUTHENTICATION_FAIL, reason, actor, of), request_id)

    def refused(self, reason: str, key: ApiKey, actor: Actor, route: str) -> None:
        """A good key was used for an administrator's request that it may not make."""
        request_id = actor.request_id or ""
        who = Actor(name=actor.name, tenant=actor.tenant, address=actor.address)
        self._count(_Group(Action.REQUEST_REFUSE, reason, who, route, key.tenant), request_id)

    async def flush(self) -> None:
        """Write what was counted. What cannot be written stays; raises `StoreUnavailable` then."""
        left, self._counts, self._lines = self._counts, Counter(), 0
        seconds, self._begun = round(self._monotonic() - self._begun), self._monotonic()
        try:
            for group, count, of in _summed(left):
                with aside.unless_it_breaks("refusals", object=group.object):
                    await self._write(group, count, seconds)
                for each in of:
                    del left[each]
        except BaseException:
            for group, count in left.items():
                self._counts[self._place(group)] += count
            raise

    async def _write(self, group: _Group, count: int, seconds: int) -> None:
        after = {"reason": group.reason, "count": count, "seconds": seconds}
        change = Change(
            action=group.action,
            object=group.object,
            tenant=group.tenant or await self._tenant_of(group.object),
            after=after,
            outcome=Outcome.REFUSED,
        )
        with acting.acting(group.actor):
            await self._store.note(change)

    async def _tenant_of(self, of: str) -> str | None:
        """Whose key was claimed, where there is such a key: it goes with its tenant when that is erased."""
        kind, _, key_id = of.partition(":")
        key = await self._store.find_key(key_id) if kind == "key" and key_id else None
        return None if key is None else key.tenant

    def _count(self, group: _Group, request_id: str) -> None:
        place = self._place(group)
        new = place not in self._counts
        self._counts[place] += 1
        if new and self._lines < _LINES:
            self._lines += 1
            _log.warning(
                "refused",
                action=group.action,
                reason=group.reason,
                who=group.actor.name,
                address=group.actor.address,
                object=group.object,
                request_id=request_id,
            )

    def _place(self, group: _Group) -> _Group:
        """Where a refusal is counted: with the strangers where there are too many kinds."""
        return group if group in self._counts or len(self._counts) < _GROUPS else group.together


def _summed(counts: Mapping[_Group, int]) -> list[tuple[_Group, int, list[_Group]]]:
    """What is written: of each action those that came most often, and all others together, by reason."""
    told: list[tuple[_Group, int, list[_Group]]] = []
    others: dict[_Group, list[_Group]] = {}
    written: Counter[Action] = Counter()
    for group, count in Counter(counts).most_common():
        if group != group.together and written[group.action] < _WRITTEN:
            written[group.action] += 1
            told.append((group, count, [group]))
        else:
            others.setdefault(group.together, []).append(group)
    return told + [(group, sum(counts[each] for each in of), of) for group, of in others.items()]


def network_of(address: IPAddress) -> str:
    """What one caller may have of addresses: one of IPv4, and 64 bits of IPv6."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, 64), strict=False))
