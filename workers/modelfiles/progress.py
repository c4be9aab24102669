"""How far a fetch is, and the log lines about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from structlog.stdlib import BoundLogger


class Doing(StrEnum):
    """`waiting` is for another process that fetches the same; `sending` is a push."""

    WAITING = "waiting"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    SENDING = "sending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a source is on its way: `done` of `total` bytes; both 0 while that is not known."""

    source: str
    doing: Doing
    done: int = 0
    total: int = 0


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """For whoever does not want to know."""


def to_log(log: BoundLogger, *, every_s: float = 10.0) -> OnProgress:
    """Writes a line when something else begins, and then at most one every `every_s` seconds."""
    said: tuple[Doing, float] | None = None

    def say(progress: Progress) -> None:
        nonlocal said
        now = time.monotonic()
        if said is None or said[0] is not progress.doing or now - said[1] >= every_s:
            said = (progress.doing, now)
            mib = {"done_mib": progress.done >> 20, "total_mib": progress.total >> 20}
            log.info("model_files", source=progress.source, doing=progress.doing.value, **mib)

    return say
