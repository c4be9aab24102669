"""For developers: which parts of a local stack must start again when a file of Cogmill's source is saved."""

from __future__ import annotations

import queue
from collections.abc import Collection
from pathlib import Path
from threading import Event, Thread

from orchestrator.domain.errors import ConfigError

SOURCE = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "orchestrator", "workers")

CONTROL_PLANE = frozenset({"api", "dispatch", "maintain"})
# Ray ends with it, and so do its workers: the next ones import what was saved.
EVERYTHING = CONTROL_PLANE | {"ray"}

# What no worker imports: no model is loaded again for these.
_NO_WORKERS = frozenset(
    {"batches", "capacity", "commands", "dispatch", "intake", "local", "notify", "processes", "store", "tenants"}
)


def stale(saved: Path) -> frozenset[str]:
    """The parts that may have imported a file, whose path is relative to the source."""
    match saved.parts:
        case ("api", *_):
            return frozenset({"api", "maintain"})  # which reads batches' lines in the API's dialects
        case ("workers", "modelfiles", *_):
            return EVERYTHING
        case ("workers", *_):
            return EVERYTHING - {"api", "maintain"}
        case ("orchestrator", folder, *_) if folder in _NO_WORKERS:
            return CONTROL_PLANE
        case _:
            return EVERYTHING


class Reloading:
    """Watches the source on a thread until the event is set; tells which parts have become stale."""

    def __init__(self, until: Event) -> None:
        """Raises `ConfigError` without watchfiles, which is among the development tools."""
        try:
            import watchfiles
        except ImportError:
            raise ConfigError("--reload needs watchfiles: pip install watchfiles") from None
        self._watch = watchfiles.watch
        self._saved: queue.SimpleQueue[Path] = queue.SimpleQueue()
        Thread(target=self._look, args=(until,), name="reloading", daemon=True).start()

    def __call__(self) -> Collection[str]:
        """The parts that became stale since the last call."""
        found: frozenset[str] = frozenset()
        while not self._saved.empty():
            found |= stale(self._saved.get())
        return found

    def _look(self, until: Event) -> None:
        for changes in self._watch(*(SOURCE / package for package in PACKAGES), stop_event=until):
            for _, path in changes:
                if path.endswith(".py"):
                    self._saved.put(Path(path).relative_to(SOURCE))
