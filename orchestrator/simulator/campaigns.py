"""Campaigns of a simulation: rows come into the queue within the product's window, or all at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.config import CampaignSettings
from orchestrator.policy.budget import Spending, reserve
from orchestrator.policy.window import window
from orchestrator.simulator.arrivals import HOUR_S
from orchestrator.simulator.jobs import Job, Shape
from orchestrator.simulator.tally import Tally
from orchestrator.simulator.traffic import CampaignTable

_MOST = CampaignSettings().most_ahead
# A forecast is asked for when so many of its rows have ended.
LOOKS = (0.1, 0.25, 0.5)


@dataclass(slots=True, kw_only=True)
class Campaign:
    """One campaign, and how it stands."""

    name: str
    table: CampaignTable
    shape: Shape
    tally: Tally
    # Money for a second of a worker of its pool, of the dearest kind: what a row is taken to cost before it has run.
    price: float
    # Rows that have a job or had one; of them, those that have not ended; and how the others did.
    submitted: int = 0
    open: int = 0
    succeeded: int = 0
    failed: int = 0
    # It has come.
    running: bool = False
    # When its budget first had no room for the next row while nothing of it ran.
    paused_at: float | None = None
    looked: int = 0

    @property
    def wanted_at(self) -> float:
        return math.inf if self.table.deadline_h is None else self.table.deadline_h * HOUR_S

    @property
    def through(self) -> bool:
        return self.succeeded + self.failed == self.table.rows

    @property
    def used_s(self) -> float:
        """Worker seconds of its attempts that have ended."""
        return self.tally.used_s[self.name]

    @property
    def spent(self) -> float:
        """Of its attempts that have ended, in its budget's unit."""
        return self.tally.spent[self.name] if self._in_money else self.used_s

    @property
    def left(self) -> int:
        """Rows that have not ended, as far as they will be rendered."""
        return self.open if self.paused_at is not None else self.table.rows - self.succeeded - self.failed

    def looks(self) -> list[float]:
        """The shares of its rows that have ended now and had not before."""
        done, found = self.succeeded + self.failed, []
        while self.looked < len(LOOKS) and done >= LOOKS[self.looked] * self.table.rows:
            found.append(LOOKS[self.looked])
            self.looked += 1
        return found

    @property
    def _in_money(self) -> bool:
        return self.table.budget is not None and self.table.budget.unit == "money"

    def ended(self, *, well: bool) -> None:
        self.open -= 1
        if well:
            self.succeeded += 1
        else:
            self.failed += 1

    def refill(self, *, windowed: bool, workers: int, make: Callable[[Campaign], Job], now: float) -> list[Job]:
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
        count = self._afforded(count, now)
        jobs = [make(self) for _ in range(count)]
        self.submitted += len(jobs)
        self.open += len(jobs)
        return jobs

    def _afforded(self, count: int, now: float) -> int:
        """How many of the next rows its budget has room for. With none, and none under way, it is paused."""
        budget, row = self.table.budget, self.shape.seconds * (self.price if self._in_money else 1.0)
        if budget is None or count <= 0:
            return count
        spending: Spending | None = Spending(reserved=self.open * row, used=self.spent)
        for number in range(count):
            assert spending is not None
            spending = reserve(budget.amount, spending, row)
            if spending is None:
                if not number and not self.open:
                    self.paused_at = now if self.paused_at is None else self.paused_at
                return number
        return count
