"""Which worker gets a render next, and which renders leave theirs: pure rules over workers' answers and their claims.

Here `takers` are the last answers of the workers of one pool that may be given work; `claims` are those that the
dispatcher holds; `leaving` are the tokens of those that have been told to leave their worker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from uuid import UUID

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.protocol import RenderStatus, Stage, WorkerState, WorkerStatus
from orchestrator.policy.cost import predict_finish_s

# A worker is given its next render this many seconds before it is free, or one denoise step before, whichever is
# longer: long enough for a claim and an assignment, short enough to be no prefetch.
LEAD_S = 0.5


def slots(takers: Collection[WorkerStatus], claims: Iterable[Claim]) -> list[WorkerRef]:
    """Workers that should get one more render now, soonest free first."""
    return [status.worker for status in sorted(_open(takers, claims), key=lambda status: status.free_in_s)]


def by_crowds(
    takers: Collection[WorkerStatus], claims: Iterable[Claim]
) -> list[tuple[tuple[str, ...], list[WorkerRef]]]:
    """The same workers, by the tenants that they have no room for; those that are open to all come first."""
    found: defaultdict[tuple[str, ...], list[WorkerRef]] = defaultdict(list)
    for status in sorted(_open(takers, claims), key=lambda status: status.free_in_s):
        found[status.crowded].append(status.worker)
    return sorted(found.items(), key=lambda each: (len(each[0]), each[0]))


def interruptible(takers: Collection[WorkerStatus], claims: Iterable[Claim]) -> list[tuple[int, list[WorkerRef]]]:
    """Workers that are not free, by the priority number that a render must be below to step there next.

    The greatest number first: whoever renders the least urgent is interrupted first.
    """
    found: defaultdict[int, list[WorkerRef]] = defaultdict(list)
    for status in _able(takers, claims):  # room or not: what is interrupted makes it
        if status.interrupts is not None and not _soon_free(status):
            found[status.interrupts].append(status.worker)
    return sorted(found.items(), reverse=True)


def misplaced(
    takers: Collection[WorkerStatus],
    statuses: Iterable[WorkerStatus],
    claims: Collection[Claim],
    leaving: AbstractSet[UUID],
) -> list[Claim]:
    """Preempted renders that idle workers of their pool could go on with, the most urgent and oldest first.

    As many as there are idle workers, less those that are on their way out of a worker already; none that would
    start over on some of them, since its own worker will go on with it for nothing. `statuses` are the last answers of
    all workers of the pool, and `claims` are the pool's, each with its age.
    """
    idle = [status for status in _open(takers, claims) if all(render.end is not None for render in status.renders)]
    numerics = {status.numerics for status in idle}
    preempted = {
        render.token
        for status in statuses
        if numerics == {status.numerics}
        for render in status.renders
        if render.stage is Stage.PREEMPTED
    }
    waiting = [claim for claim in claims if claim.token in preempted and claim.token not in leaving]
    waiting.sort(key=lambda claim: (claim.priority, -claim.age_s))
    spoken_for = sum(claim.token in leaving for claim in claims)
    return waiting[: max(0, len(idle) - spoken_for)]


def unfinished(
    statuses: Iterable[WorkerStatus],
    claims: Iterable[Claim],
    leaving: AbstractSet[UUID],
    expected_s: Mapping[UUID, float],
    within_s: float,
) -> list[Claim]:
    """Claims whose renders are predicted to end later than in `within_s`, can still leave, and have not been told to.

    `expected_s` are the GPU seconds that a claim's whole render is predicted to take, by its token; its cost where
    there are none.
    """
    seen = {render.token: render for status in statuses for render in status.renders}
    return [
        claim
        for claim in claims
        if claim.token not in leaving
        and _left_s(claim, seen.get(claim.token), expected_s.get(claim.token, claim.cost)) > within_s
    ]


def _open(takers: Collection[WorkerStatus], claims: Iterable[Claim]) -> list[WorkerStatus]:
    """Those that should get one more render now."""
    return [status for status in _able(takers, claims) if status.room > 0 and _soon_free(status)]


def _able(takers: Collection[WorkerStatus], claims: Iterable[Claim]) -> list[WorkerStatus]:
    """Those that take renders, for which they may lack room, and have none on its way."""
    shown = {(status.worker, render.token) for status in takers for render in status.renders}
    awaits = {claim.worker for claim in claims if (claim.worker, claim.token) not in shown}
    return [status for status in takers if status.state is WorkerState.READY and status.worker not in awaits]


def _soon_free(status: WorkerStatus) -> bool:
    return status.free_in_s <= max(LEAD_S, status.step_s)


def _left_s(claim: Claim, render: RenderStatus | None, render_s: float) -> float:
    """Predicted seconds to a render's end; none for one whose frames are being finished, as that cannot leave."""
    if render is not None and render.stage in (Stage.FINISHING, Stage.UPLOADING, Stage.ENDED):
        return 0.0
    done = render.step / render.steps if render is not None else 0.0
    return render_s * (1 - done) + predict_finish_s(claim.spec)
