"""One bad item never holds up the others: what nobody foresaw about it is counted and logged, and its loop goes on."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from orchestrator.domain.errors import StaleEpoch, Unavailable
from orchestrator.telemetry import logs, metrics

_log = logs.get("aside")

_MAX_CHARS = 500

Item = TypeVar("Item")


def put(loop: str, error: Exception, **fields: object) -> str:
    """Count and log an item of `loop` that is put aside; the evidence in one line, for whoever looks into it."""
    metrics.parked.labels(loop).inc()
    evidence = told(error)
    _log.error("put_aside", loop=loop, error=evidence, **fields)
    return evidence


@contextmanager
def unless_it_breaks(loop: str, **fields: object) -> Iterator[None]:
    """Do something about one item of many; an error of its own is put aside.

    A part that does not answer (`Unavailable`) and a newer dispatcher (`StaleEpoch`) are no item's fault: they get out.
    """
    try:
        yield
    except (Unavailable, StaleEpoch):
        raise
    except Exception as error:
        put(loop, error, **fields)


def told(error: Exception) -> str:
    """An unforeseen error: what it says, and where it came from, the innermost line of the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    said = " ".join(str(error).split()).replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return f"{type(error).__name__}: {said[:_MAX_CHARS]}{where}"


class Resting(Generic[Item]):
    """Items that were put aside for an hour. Known to this process alone: another may try them meanwhile."""

    def __init__(self, rest_s: float = 3600.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rest_s = rest_s
        self._monotonic = monotonic
        self._until: dict[Item, float] = {}

    def add(self, *items: Item) -> None:
        """Let these rest from now on."""
        self._until |= dict.fromkeys(items, self._monotonic() + self._rest_s)

    def __contains__(self, item: object) -> bool:
        return item in self._left()

    def __len__(self) -> int:
        return len(self._left())

    def _left(self) -> dict[Item, float]:
        """Those that still rest."""
        now = self._monotonic()
        if any(until <= now for until in self._until.values()):
            self._until = {item: until for item, until in self._until.items() if until > now}
        return self._until
