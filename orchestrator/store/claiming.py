"""Claims until every slot has a job or nothing is left: one statement as a rule, several where tenants have caps."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.warmth import COLD, Warmth
from orchestrator.store import rows
from orchestrator.store.claim import CLAIM, CLAIM_SHARED, EVERY_PRIORITY, WAIT
from orchestrator.store.part import Part


class Claims(Part):
    # The pools in which a claim last saw somebody with a cap or a share: they get the statement that counts at once.
    _counted: frozenset[str] = frozenset()

    async def claim(
        self,
        pool: str,
        cluster: str,
        slots: Sequence[WorkerRef],
        *,
        more_urgent_than: int | None = None,
        warm: Mapping[WorkerRef, Warmth] | None = None,
        without: Collection[str] = (),
    ) -> list[Claim]:
        which = {
            "pool": pool,
            "cluster": cluster,
            "more_urgent_than": EVERY_PRIORITY if more_urgent_than is None else more_urgent_than,
        }
        warm = warm or {}
        claims: list[Claim] = []
        free = list(slots)
        # Capped tenants that another pool's claimer was counting, and those that were waited for.
        passed: set[str] = set()
        waited: set[str] = set()
        look: _Look | None = None
        while free:
            # What one tenant may not take is the others', and so is a seat that a job was too shy for.
            again = look is None or look.busy or (look.claims and look.again)
            if not again and not passed - waited:
                break
            busy = set() if again else passed
            if busy:
                waited, passed = waited | busy, set()
            try:
                look = await self._look(which, free, warm, busy, passed, without)
            except Unavailable:
                if claims:  # what was won is won
                    break
                raise
            claims += look.claims
            free = _left(free, look.claims)
            passed |= set(look.busy)
        return claims

    async def _look(
        self,
        which: Mapping[str, Any],
        slots: Sequence[WorkerRef],
        warm: Mapping[WorkerRef, Warmth],
        busy: AbstractSet[str],
        passed: AbstractSet[str],
        without: Collection[str],
    ) -> _Look:
        """One look at the queue; in a transaction that waits for its turn, where it does not come at once.

        `busy` tenants are waited for first, `passed` ones and those that it is to go `without` are left alone.
        """
        pool, which = which["pool"], {**which, **_dealt(slots, warm)}
        passed = passed | set(without)
        counted = bool(without) or self._defaults.running is not None
        if not busy:
            counts = pool in self._counted or counted
            found = await self._database.fetch(*self._told(which, counts, passed))
            if found[0].ours:
                self._remember(pool, found[0].shared)
                return _Look.of(found, counts)

        async def in_turn(connection: AsyncConnection) -> _Look:
            turn = (await connection.execute(WAIT, {"pool": pool, "busy": sorted(busy)})).one()
            self._remember(pool, turn.shared)
            counts = turn.shared or counted
            return _Look.of((await connection.execute(*self._told(which, counts, passed))).all(), counts)

        return await self._database.transact(in_turn)

    def _remember(self, pool: str, shared: bool) -> None:
        self._counted = self._counted | {pool} if shared else self._counted - {pool}

    def _told(
        self, which: Mapping[str, Any], counts: bool, passed: AbstractSet[str]
    ) -> tuple[TextClause, dict[str, Any]]:
        more = {"running": self._defaults.running, "passed": sorted(passed)}
        return (CLAIM_SHARED, {**which, **more}) if counts else (CLAIM, dict(which))


@dataclass(frozen=True, slots=True)
class _Look:
    """What one statement has found."""

    claims: list[Claim]
    # There may be more for the slots that are left.
    again: bool
    # Capped tenants that another pool's claimer was counting.
    busy: Sequence[str]

    @classmethod
    def of(cls, found: Sequence[Row[Any]], counts: bool) -> _Look:
        claims = rows.claims(row for row in found if row.id is not None)
        return cls(claims, again=counts or found[0].shy_left, busy=found[0].busy or ())


def _left(slots: Sequence[WorkerRef], claims: Sequence[Claim]) -> list[WorkerRef]:
    free = list(slots)
    for claim in claims:
        free.remove(claim.worker)
    return free


def _dealt(slots: Sequence[WorkerRef], warm: Mapping[WorkerRef, Warmth]) -> dict[str, Any]:
    found = [warm.get(slot, COLD) for slot in slots]
    return {
        "workers": [slot.name for slot in slots],
        "incarnations": [slot.incarnation for slot in slots],
        "shapes": [each.shape for each in found],
        "adapters": [json.dumps(each.adapters) for each in found],
        "warm": any(each != COLD for each in found),
        "n": len(slots),
    }
