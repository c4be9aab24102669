"""Whether a kind's workers are taken back too soon to be worth their start, as a short spot market does. Pure.

A worker that lives no longer than its start takes is paid for at least twice over. Three such losses put the kind aside
for a while; then one worker is tried, and the kind is trusted again once it has lived as long as three lives that would
have been worth it. Seen are seconds and losses of the last hours: both fade, so that their ratio stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# So many losses prove something.
ENOUGH = 3
# What was seen counts half after this, or after so many starts if they take longer.
_HALF_S, _HALF_STARTS = 3600.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What is remembered of a kind whose workers may be taken away."""

    # Fading: how many were taken back, and for how many seconds its workers were ready.
    lost: float = 0.0
    ready_s: float = 0.0
    # When this was seen last.
    at: float = math.nan
    # How often in a row it was put aside, and until when it is.
    times: int = 0
    until: float = -math.inf

    def seen(self, *, ready: int, lost: int, start_s: float, now: float) -> Losses:
        """After a look at `now`: so many are ready, and so many were taken back since the last look."""
        elapsed = 0.0 if math.isnan(self.at) else max(0.0, now - self.at)
        if now < self.until:
            return replace(self, at=now)
        fades = 0.5 ** (elapsed / max(_HALF_S, _HALF_STARTS * start_s))
        after = replace(
            self, lost=self.lost * fades + lost, ready_s=self.ready_s * fades + (ready + lost) * elapsed, at=now
        )
        proven = after.ready_s >= max(ENOUGH, after.lost) * start_s
        return replace(after, times=0) if self.times and proven else after

    def too_many(self, start_s: float) -> bool:
        """Whether so many were lost that lived no longer than their start took, as a mean."""
        return self.lost > ENOUGH - 0.5 and self.ready_s < self.lost * start_s

    def put_aside(self, now: float, pause_s: float) -> Losses:
        """Until then none is asked for, and what was seen before counts no more."""
        return Losses(at=now, times=self.times + 1, until=now + pause_s)

    def is_aside(self, now: float) -> bool:
        return now < self.until

    @property
    def on_trial(self) -> bool:
        """It was put aside, and has not proven itself since."""
        return self.times > 0
