"""`/v1/fleet`, which is ours: kinds of workers, how many there are and are wanted, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.capacity.fleets import FleetKind
from orchestrator.domain.rights import Scope
from orchestrator.ports.fleet import Basis, ScaleDecision

router = Router(tags=["operators"])

EXAMPLE: dict[str, JsonValue] = {
    "object": "fleet",
    "kinds": [
        {
            "object": "fleet.kind",
            "pool": "main",
            "kind": "spot",
            "min": 0,
            "max": 250,
            "price_per_gpu_hour": 1.1,
            "may_vanish": True,
            "wanted": 120,
            "requested": 14,
            "starting": 6,
            "ready": 100,
            "draining": 0,
            "why": "118.40 GPU s per s wanted, 106.00 there or coming; 107.60 of them are due in 21600 s",
            "failures": 0,
            "rests_s": 0,
        }
    ],
    "decisions": [
        {
            "object": "fleet.decision",
            "pool": "main",
            "kind": "spot",
            "change": 14,
            "why": "118.40 GPU s per s wanted, 106.00 there or coming; 107.60 of them are due in 21600 s",
            "demand": {
                "backlog_s": 2350000.0,
                "due_s": 2324160.0,
                "required_rate": 107.6,
                "due_in_s": 21600.0,
                "urgent_s": 6.0,
                "jobs": 26100,
            },
            "standing": {"requested": 0, "starting": 6, "ready": 100, "draining": 0},
            "at": 1758941485,
        }
    ],
}


class Kind(BaseModel):
    """Workers of a pool that cost and do the same. A pool without kinds has one, `default`.

    Workers that it shares with others are a kind with their set's name: those that hold its model, or are given it.
    """

    object: Literal["fleet.kind"] = "fleet.kind"
    pool: str
    kind: str
    min: int
    max: int
    price_per_gpu_hour: float | None
    may_vanish: bool = Field(description="Its nodes may be taken away, with a notice.")
    wanted: int
    requested: int = Field(description="Asked for, and never heard of.")
    starting: int = Field(description="They load their model.")
    ready: int
    draining: int = Field(description="On their way out; not among the wanted.")
    why: str = Field(description="The reason of the last change.")
    failures: int = Field(description="How often in a row none came in its time.")
    rests_s: float = Field(
        description="For so long none is asked for; after losses, as far as others do its work. "
        "Of shared workers: until one is taken at the latest, where nothing waits, for what comes now."
    )


class Demand(BaseModel):
    """What a pool had to do, in predicted GPU seconds of the reference kind."""

    backlog_s: float = Field(description="All that waited or ran, campaigns' rows without a job among them.")
    due_s: float = Field(description="The part of it that was due at a time.")
    required_rate: float = Field(description="GPU seconds per second that kept these deadlines.")
    due_in_s: float | None = Field(description="Seconds until the deadline that decided the rate.")
    urgent_s: float = Field(description="The part that somebody sat and waited for.")
    jobs: int


class Standing(BaseModel):
    """How the kind's workers stood before the decision."""

    requested: int
    starting: int
    ready: int
    draining: int


class Decision(BaseModel):
    """A kind got more workers, or fewer. A shared worker that is given another model counts as two: -1 and +1."""

    object: Literal["fleet.decision"] = "fleet.decision"
    pool: str
    kind: str
    change: int
    why: str
    demand: Demand | None = Field(
        description="What it was based on; null for a swap of a shared worker, and where an older release took it."
    )
    standing: Standing | None
    at: int


class Fleet(BaseModel):
    """Every kind of every pool, and the last twenty decisions, the newest first."""

    object: Literal["fleet"] = "fleet"
    kinds: list[Kind]
    decisions: list[Decision]


@router.get(
    "/v1/fleet",
    response_model=Fleet,
    summary="Show the fleet",
    **DOCS.route(Scope.OPERATE, errors=(403,), example=EXAMPLE),
)
async def show_fleet(request: Request, operator: deps.Key) -> Response:
    """Kinds of workers: how many are wanted, requested, starting, ready and draining, and why."""
    shown = await deps.services(request).fleets.show()
    return reply(Fleet(kinds=[_kind(it) for it in shown.kinds], decisions=[_decision(it) for it in shown.decisions]))


def _kind(it: FleetKind) -> Kind:
    state = it.state
    return Kind(
        pool=it.pool,
        kind=it.kind,
        min=it.least,
        max=it.most,
        price_per_gpu_hour=it.price_per_gpu_hour,
        may_vanish=it.may_vanish,
        wanted=state.wanted,
        requested=state.requested,
        starting=state.starting,
        ready=state.ready,
        draining=state.draining,
        why=state.why,
        failures=state.failures,
        rests_s=round(state.rests_s, 1),
    )


def _decision(it: ScaleDecision) -> Decision:
    assert it.at is not None  # it was read
    basis = it.basis
    return Decision(
        pool=it.pool,
        kind=it.kind,
        change=it.change,
        why=it.why,
        demand=None if basis is None else _demand(basis),
        standing=None if basis is None else _standing(basis),
        at=unix(it.at),
    )


def _demand(basis: Basis) -> Demand:
    return Demand(**{name: _rounded(value) for name, value in asdict(basis.demand).items()})


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if isinstance(value, float) else value


def _standing(basis: Basis) -> Standing:
    return Standing(requested=basis.requested, starting=basis.starting, ready=basis.ready, draining=basis.draining)
