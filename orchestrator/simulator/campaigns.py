"""Campaigns of a simulation: rows come into the queue within the product's window, or all at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.config import CampaignSettings
from orchestrator.policy.window import window
from orchestrator.simulator.arrivals import HOUR_S
from orchestrator.simulator.jobs import Job, Shape
from orchestrator.simulator.traffic import CampaignTable

_MOST = CampaignSettings().most_ahead


@dataclass(slots=True, kw_only=True)
class Campaign:
    """One campaign, and how it stands."""

    name: str
    table: CampaignTable
    shape: Shape
    # Rows that have a job or had one; of them, those that have not ended; and how the others did.
    submitted: int = 0
    open: int = 0
    succeeded: int = 0
    failed: int = 0
    # It has come.
    running: bool = False

    @property
    def wanted_at(self) -> float:
        return math.inf if self.table.deadline_h is None else self.table.deadline_h * HOUR_S

    @property
    def through(self) -> bool:
        return self.succeeded + self.failed == self.table.rows

    def ended(self, *, well: bool) -> None:
        self.open -= 1
        if well:
            self.succeeded += 1
        else:
            self.failed += 1

    def refill(self, *, windowed: bool, workers: int, make: Callable[[Campaign], Job]) -> list[Job]:
        """The next rows that get a job, now that its pool has so many workers."""
        if not self.running or self.submitted == self.table.rows:
            return []
        room = self.table.rows if self.table.max_running is None else self.table.max_running
        if windowed:
            room = window(
                workers=workers,
                cost_s=self.shape.seconds,
                succeeded=self.succeeded,
                failed=self.failed,
                most=_MOST,
                max_running=self.table.max_running,
            ).seats
        count = min(room - self.open, self.table.rows - self.submitted)
        jobs = [make(self) for _ in range(count)]
        self.submitted += len(jobs)
        self.open += len(jobs)
        return jobs
