"""Which renders give their worker back to a tenant that runs less than it is guaranteed: a pure rule, with its reasons.

The claim serves such a tenant first (`fair_share.py`), so whatever is free goes to it. Only where nothing is, and
others render on what was lent to them, do renders leave: each stores a checkpoint after the step that it is in. What
left waits in its lane, behind the jobs of whom it left for: they are claimed first until the guarantee is met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

from orchestrator.domain.job import Claim
from orchestrator.domain.protocol import RenderStatus, Stage, WorkerStatus
from orchestrator.policy import placement
from orchestrator.policy.fair_share import URGENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a tenant stands in one pool."""

    tenant: str
    # Workers that it gets when it wants them, and the jobs that it runs.
    guaranteed: int
    running: int
    # Its jobs that are ready, up to `guaranteed`; 0 for a tenant that lacks nothing.
    waiting: int = 0
    # How many more it may run over all pools; None where it has no cap.
    room: float | None = None

    @property
    def lacks(self) -> int:
        """Workers that it is guaranteed, has jobs for, and does not have."""
        room = self.waiting if self.room is None else int(self.room)
        return max(0, min(self.guaranteed - self.running, self.waiting, room))

    @property
    def borrowed(self) -> int:
        """Jobs that it runs beyond its guarantee."""
        return max(0, self.running - self.guaranteed)


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """A render that is to leave its worker, and why."""

    claim: Claim
    to: str
    why: str


def give_back(
    standings: Sequence[Standing],
    takers: Collection[WorkerStatus],
    claims: Collection[Claim],
    leaving: AbstractSet[UUID],
) -> list[GiveBack]:
    """Renders of one pool that leave, so that nobody lacks a worker that others borrowed; the least loss first.

    `takers` are the last answers of the workers of the pool that may be given work, `claims` those of ours there, each
    with its age, and `leaving` the tokens of those that were told to leave. A worker that is free, or will be when what
    leaves has left, is counted as given. No render leaves that is more urgent than usual, since the queue would give it
    a worker first; none that is about to end; and none of a tenant that is within its own guarantee.
    """
    short = {each.tenant: each for each in standings if each.lacks}
    coming = len(placement.slots(takers, claims)) + sum(claim.token in leaving for claim in claims)
    # One entry for each worker that is lacked; whoever lacks most is first, then by name.
    wanted = [each for each in sorted(short.values(), key=_most_lacking) for _ in range(each.lacks)][coming:]
    lent = {each.tenant: each.borrowed for each in standings}
    found: list[GiveBack] = []
    for victims in sorted(_leavable(takers, claims, leaving), key=_loss):
        took = Counter(claim.tenant for claim, _ in victims)
        if not wanted:
            break
        if any(count > lent.get(tenant, 0) for tenant, count in took.items()):
            continue
        for tenant, count in took.items():
            lent[tenant] -= count
        to = wanted.pop(0)
        why = f"{to.tenant} runs {to.running} of {to.guaranteed} guaranteed, and has more waiting"
        found += [GiveBack(claim=claim, to=to.tenant, why=why) for claim, _ in victims]
    return found


def _leavable(
    takers: Iterable[WorkerStatus], claims: Iterable[Claim], leaving: AbstractSet[UUID]
) -> list[list[tuple[Claim, RenderStatus]]]:
    """For each worker that would be free without them, the renders that it is busy with."""
    ours: Mapping[UUID, Claim] = {claim.token: claim for claim in claims}
    found = []
    for status in takers:
        busy = [render for render in status.renders if not _ends_soon(render)]
        held = [(ours[render.token], render) for render in busy if render.token in ours]
        if busy and len(held) == len(busy) and all(_may_leave(claim, leaving) for claim, _ in held):
            found.append(held)
    return found


def _may_leave(claim: Claim, leaving: AbstractSet[UUID]) -> bool:
    return claim.token not in leaving and not claim.cancel_requested and claim.priority >= URGENT


def _ends_soon(render: RenderStatus) -> bool:
    """It needs no step more than the one that it is in: its worker goes on without it anyhow."""
    after = (Stage.DECODING, Stage.FINISHING, Stage.UPLOADING, Stage.ENDED)
    return render.end is not None or render.stage in after or render.steps - render.step <= 1


def _loss(victims: Sequence[tuple[Claim, RenderStatus]]) -> tuple[int, int, float]:
    """What is lost when these leave: first of the least urgent, then steps beyond a checkpoint, then the last begun."""
    at_risk = sum(
        render.step - (render.checkpoint.step if render.checkpoint is not None else 0) for _, render in victims
    )
    return -min(claim.priority for claim, _ in victims), at_risk, min(claim.age_s for claim, _ in victims)


def _most_lacking(standing: Standing) -> tuple[int, str]:
    return -standing.lacks, standing.tenant
