"""A pause of a pool or of the whole queue: nothing new is claimed, what runs goes on, what is accepted waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

# In the place of a pool's name: all of them. No pool may be called so.
EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The last pause of a pool, or of all."""

    # A pool's name, or `EVERY`.
    pool: str
    # For whoever waits.
    reason: str
    paused_by: str
    paused_at: datetime
    # None while it stands.
    resumed_by: str | None = None
    resumed_at: datetime | None = None

    @property
    def stands(self) -> bool:
        return self.resumed_at is None


def pause_over(pool: str, pauses: Iterable[Pause]) -> Pause | None:
    """The pause that keeps a pool's jobs waiting, that of the whole queue first; None when none does."""
    standing = {pause.pool: pause for pause in pauses if pause.stands}
    return standing.get(EVERY) or standing.get(pool)


def told(pause: Pause) -> str:
    """A pause in words for whoever waits."""
    what = "the whole queue" if pause.pool == EVERY else f"pool {pause.pool}"
    return f"{what} is paused: {pause.reason}"
