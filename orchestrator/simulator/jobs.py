"""A job of a simulation: what is asked for, what is really to be done, and how far it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What renders of one kind take on a worker of speed 1."""

    # Predicted seconds of the whole render; the decode is a part of it.
    seconds: float
    steps: int
    decode_s: float = 0.0
    # How many GPUs it keeps busy.
    gpus: int = 1

    @property
    def cost(self) -> float:
        """Predicted seconds, once for each GPU: as money and the fairness of a simulation count them.

        A job's cost in the product is a worker's seconds, however many GPUs it has.
        """
        return self.seconds * self.gpus


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One video."""

    # Counts up: the order in which jobs came.
    number: int
    tenant: str
    priority: int
    # Predicted GPU seconds, as its lane is charged.
    cost: float
    # Seconds that it really takes on a worker of speed 1, those of one step, and what is left of them.
    seconds: float
    step_s: float
    arrived_at: float
    # By when it is wanted, for the count of late ones; its place in the queue does not follow from it.
    wanted_at: float = math.inf
    # Whose row it is.
    campaign: str | None = None

    # Of its worker.
    gpus: int = 1
    claimed_at: float = 0.0
    left_s: float = field(init=False)
    # Of what has been rendered, the seconds since the last checkpoint.
    unsaved_s: float = 0.0
    # GPU seconds since its claim, all GPUs of its worker counted.
    used_s: float = 0.0
    # None until its first step.
    began_at: float | None = None
    failures: int = 0
    # More urgent renders that have begun while it waited in its worker's memory.
    overtaken: int = 0
    # Seconds until it can step again, once a worker has it: its checkpoint has to come there.
    handover_s: float = 0.0

    def __post_init__(self) -> None:
        self.left_s = self.seconds

    @property
    def predicted_left_s(self) -> float:
        """What is left of it on a worker of speed 1, as it is predicted."""
        return self.cost / self.gpus * self.left_s / self.seconds
