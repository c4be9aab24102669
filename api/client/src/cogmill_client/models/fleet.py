"""The fleet: every pool's kinds of workers, how they stand, and what was decided about them."""

from __future__ import annotations

from typing import Any, Literal

from cogmill_client.models.base import Answer


class FleetKind(Answer):
    """Workers of a pool that cost and do the same. A pool without kinds has one, `default`."""

    object: Literal["fleet.kind"]
    pool: str
    kind: str
    min: int
    max: int
    price_per_gpu_hour: float | None
    may_vanish: bool
    wanted: int
    requested: int
    starting: int
    ready: int
    draining: int
    why: str
    failures: int
    rests_s: float


class Demand(Answer):
    """What a pool had to do, in predicted GPU seconds of the reference kind; `due_in_s` is None without a deadline."""

    backlog_s: float
    due_s: float
    required_rate: float
    due_in_s: float | None
    urgent_s: float
    jobs: int


class Standing(Answer):
    """How a kind's workers stood."""

    requested: int
    starting: int
    ready: int
    draining: int


class ScaleDecision(Answer):
    """A kind got more workers, or fewer.

    What it was based on is None for a swap of a shared worker, and where an older release took it.
    """

    object: Literal["fleet.decision"]
    pool: str
    kind: str
    change: int
    why: str
    demand: Demand | None
    standing: Standing | None
    at: int


class Fleet(Answer):
    """Every kind of every pool, and the last twenty decisions, the newest first."""

    object: Literal["fleet"]
    kinds: list[FleetKind]
    decisions: list[ScaleDecision]


class Predictions(Answer):
    """What renders have taught of how long renders take, and how fast each kind of worker is: as the API words them."""

    data: list[dict[str, Any]]
    speeds: list[dict[str, Any]]
