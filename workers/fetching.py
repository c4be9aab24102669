"""What renders begin with on its way from the bucket, on threads beside the step loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType

from structlog.stdlib import BoundLogger

from workers.failures import failure_of
from workers.parts import Fetch
from workers.roster import Roster


class Fetching:
    """Gets pictures and snapshots, for as many renders as may wait. A context, left once the roster is closed."""

    def __init__(self, roster: Roster, fetch: Fetch, log: BoundLogger) -> None:
        self._roster = roster
        self._fetch = fetch
        self._log = log
        self._fetchers = roster.capacity.batch_size + 1
        self._threads = ThreadPoolExecutor(self._fetchers, "fetch")

    def __enter__(self) -> None:
        for _ in range(self._fetchers):
            self._threads.submit(self._work)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()

    def _work(self) -> None:
        while (held := self._roster.next_to_fetch()) is not None:
            try:
                material = self._fetch(held.assignment, partial(self._roster.wants_material, held))
            except Exception as error:
                self._log.exception("fetch_broke", **held.names)
                self._roster.unfetched(held, failure_of(error))
            else:
                if material is not None:
                    self._roster.fetched(held, material)
