"""How long whoever has failed waits before the next try: the one rule of every pause that grows. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Shares of the full pause between which jitter chooses: around it, below it, or it alone.
AROUND = (0.75, 1.25)
BELOW = (0.5, 1.0)
FULL = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential backoff: `base_s` after the first failure, twice as long after each further one, up to `cap_s`."""

    base_s: float
    cap_s: float
    # The least and the greatest share of a pause that is made of it, so that many do not try again at one moment.
    spread: tuple[float, float] = AROUND

    def delay_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after the `failures`-th failure (1 is the first); `jitter` in [0, 1) places it in `spread`.

        Whoever calls brings the jitter, so that equal arguments give an equal pause.
        """
        if failures < 1:
            return 0.0
        shortest, longest = self.spread
        full_s = min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 32))
        return float(full_s * (shortest + (longest - shortest) * jitter))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy(Backoff):
    """How a failing job is tried again."""

    base_s: float = 5.0
    cap_s: float = 300.0
    # Evictions that are free of charge, at most, so that no job bounces between workers for ever.
    max_evictions: int = 20
