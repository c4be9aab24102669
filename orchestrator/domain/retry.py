"""How often a failing job is tried again, and how long it waits in between."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter. Times are seconds.

    `max_evictions` caps the evictions that are free of charge, so that no job bounces between workers for ever.
    """

    base_s: float = 5.0
    cap_s: float = 300.0
    max_evictions: int = 20

    def delay_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after the `failures`-th failure (1 is the first). `jitter` in [0, 1) spreads it by +-25%."""
        if failures < 1:
            return 0.0
        full = min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 32))
        return float(full * (0.75 + 0.5 * jitter))
