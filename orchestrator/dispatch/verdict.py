"""What to do about a worker's answer, in pure code: its state and its claims in, actions out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Claim, Failure
from orchestrator.domain.outcome import Ending, Evicted, Lost, Released
from orchestrator.domain.protocol import RenderStatus, Stage, WorkerState, WorkerStatus
from orchestrator.policy.cost import predict_finish_s
from orchestrator.policy.watchdog import Patience

_NOTHING: Mapping[UUID, float] = {}


@dataclass(frozen=True, slots=True)
class Settle:
    """Settle this claim with this ending; afterwards the worker may forget it."""

    claim: Claim
    ending: Ending


@dataclass(frozen=True, slots=True)
class Cancel:
    """The owner asked to cancel: tell the worker to stop this render."""

    token: UUID


@dataclass(frozen=True, slots=True)
class Disown:
    """The worker holds a token that we do not know. Ask the database, and stop the render if it does not either."""

    render: RenderStatus


class Death(StrEnum):
    """Why one life of a worker is over."""

    SILENT = "silent"  # it beat no more, or did not answer for as long
    VANISHED = "vanished"  # its process or its node is gone
    HUNG = "hung"  # it answers, and a render does not move
    QUARANTINED = "quarantined"  # different jobs failed on it in a row
    LOADING = "loading"  # it never came to the end of loading its model
    BROKEN = "broken"  # it says itself that it cannot render


@dataclass(frozen=True, slots=True)
class Kill:
    """End the worker's process, after every `Settle` beside it; it comes back as a new incarnation."""

    reason: Death
    detail: str


@dataclass(frozen=True, slots=True)
class Rest:
    """As `Kill`, of a worker that has not loaded its model: it is not started again at once."""

    reason: Death
    detail: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Give the worker nothing more and let it hand back what it holds: it is to be killed."""


Action = Settle | Cancel | Disown | Kill | Rest | Drain


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What `decide` goes by. Seconds.

    A worker on which `quarantine_after` different jobs failed in a row is replaced; `notice_s` is how long it has to
    hand back what it holds.
    """

    patience: Patience
    unheld_grace_s: float
    load_s: float
    quarantine_after: int
    notice_s: float
    broken_s: float = 60.0


def decide(
    status: WorkerStatus,
    state_age_s: float,
    claims: Sequence[Claim],
    rules: Rules,
    *,
    failed: int = 0,
    expected_s: Mapping[UUID, float] = _NOTHING,
) -> list[Action]:
    """What a worker's answer calls for.

    `claims` are all that we believe this worker's name to hold, of any incarnation; `state_age_s` is for how long the
    worker has been in its present state; `failed` is how many different jobs have failed on it in a row. `expected_s`
    are the GPU seconds that a claim's render is predicted to take by now, by its token; its cost where there are none.
    """
    held = {render.token: render for render in status.renders}
    known = {claim.token: claim for claim in claims}
    mine = [claim for claim in claims if claim.worker == status.worker]
    actions: list[Action] = [
        Settle(claim, Lost(failure=worker_vanished(claim))) for claim in claims if claim.worker != status.worker
    ]
    hung = {
        claim.token
        for claim in mine
        if claim.token in held and _hung(claim, held[claim.token], rules, expected_s.get(claim.token, claim.cost))
    }
    kill = _kill(status, state_age_s, mine, held, hung, rules) or _quarantine(status, state_age_s, rules, failed)
    if isinstance(kill, Kill | Rest):
        return [*actions, *_ends_of_kill(mine, held, hung), kill]
    if kill is not None:
        actions.append(kill)
    for render in status.renders:
        claim = known.get(render.token)
        if claim is None:
            actions.append(Disown(render))
        elif render.end is not None:
            actions.append(Settle(claim, render.end))
        elif claim.cancel_requested:
            actions.append(Cancel(claim.token))
    actions.extend(
        Settle(claim, Released(reason="its worker does not hold it"))
        for claim in mine
        if claim.token not in held and claim.age_s > rules.unheld_grace_s
    )
    return actions


def worker_vanished(claim: Claim) -> Failure:
    """Why a claim is lost whose worker's process or node is gone."""
    return Failure(
        code=FailureCode.WORKER_LOST,
        message=f"worker {claim.worker.name} vanished during attempt {claim.number}",
    )


def _kill(
    status: WorkerStatus,
    state_age_s: float,
    mine: Sequence[Claim],
    held: Mapping[UUID, RenderStatus],
    hung: Collection[UUID],
    rules: Rules,
) -> Kill | Rest | None:
    if status.state is WorkerState.LOADING and state_age_s > rules.load_s:
        return Rest(Death.LOADING, f"for {state_age_s:.0f} s")
    if status.state is WorkerState.BROKEN and (state_age_s > rules.broken_s or not _live(status)):
        return Rest(Death.BROKEN, status.error or "")
    for claim in mine:
        if claim.token in hung:
            render = held[claim.token]
            return Kill(Death.HUNG, f"no progress in {render.stage} for {render.progress_age_s:.0f} s")
    return None


def _quarantine(status: WorkerStatus, state_age_s: float, rules: Rules, failed: int) -> Drain | Kill | None:
    """First what it holds is handed back, then it is killed."""
    if failed < rules.quarantine_after:
        return None
    if status.state is not WorkerState.DRAINING:
        return Drain()
    if _live(status) and state_age_s <= rules.notice_s:
        return None
    return Kill(Death.QUARANTINED, f"{failed} jobs failed in a row")


def _live(status: WorkerStatus) -> bool:
    """Whether it still has frames to finish, or to upload: a worker may break after it was ready, too."""
    return any(render.end is None for render in status.renders)


def _hung(claim: Claim, render: RenderStatus, rules: Rules, render_s: float) -> bool:
    step_s = render_s / claim.spec.num_inference_steps
    finish_s = predict_finish_s(claim.spec)
    return render.end is None and rules.patience.hung(render, step_s=step_s, render_s=render_s, finish_s=finish_s)


def _ends_of_kill(mine: Sequence[Claim], held: Mapping[UUID, RenderStatus], hung: Collection[UUID]) -> Iterator[Settle]:
    """Only the hung render pays for the kill: what waited goes back, what rendered beside it is evicted."""
    for claim in mine:
        render = held.get(claim.token)
        if render is None or render.stage is Stage.ASSIGNED:
            yield Settle(claim, Released(reason="its worker was killed before it began"))
        elif render.end is not None:
            yield Settle(claim, render.end)
        elif claim.token in hung:
            message = f"no progress in {render.stage} for {render.progress_age_s:.0f} s at step {render.step}"
            yield Settle(claim, Lost(failure=Failure(code=FailureCode.HUNG, message=message)))
        else:
            yield Settle(claim, Evicted(reason="its worker was killed for another render"))
