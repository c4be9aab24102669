"""For how long an answer may lie unread before its connection is cut."""

from __future__ import annotations

# All pauses of an answer together; and what is read in a second more than that makes up for.
STALLED_S = 60.0
SLOWEST_READ = 16 * 1024


class Patience:
    """What is left of it for one answer. Who reads a little now and then has no more than who reads nothing."""

    def __init__(self) -> None:
        self.left_s = STALLED_S
        self._pause: tuple[float, int] | None = None

    def pause(self, now: float, lying: int) -> float:
        """So many bytes lie there, and nobody reads on: in how many seconds its connection is cut."""
        self._pause = (now, lying)
        return max(0.0, self.left_s)

    def resume(self, now: float, lying: int) -> None:
        """Somebody has read. That makes up for the pause, and never for one that is still to come."""
        if self._pause is not None:
            since, lay = self._pause
            self._pause = None
            self.left_s = min(STALLED_S, self.left_s - (now - since) + (lay - lying) / SLOWEST_READ)
