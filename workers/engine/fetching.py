"""What renders begin with on its way from the bucket, on threads beside the step loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType

from structlog.stdlib import BoundLogger

from orchestrator.domain.job import Failure
from orchestrator.domain.protocol import Broke
from workers.engine.failures import failure_of
from workers.engine.held import Held
from workers.engine.parts import Fetch, Material
from workers.engine.renders import Renders
from workers.engine.schedule import Schedule


class Fetching:
    """Gets pictures and snapshots, for as many renders as may wait. A context, left once the roster is closed."""

    def __init__(self, renders: Renders, schedule: Schedule, fetch: Fetch, log: BoundLogger) -> None:
        self._renders = renders
        self._schedule = schedule
        self._fetch = fetch
        self._log = log
        self._fetchers = schedule.capacity.batch_size + 1
        self._threads = ThreadPoolExecutor(self._fetchers, "fetch")

    def __enter__(self) -> None:
        for _ in range(self._fetchers):
            self._threads.submit(self._work)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()

    def _work(self) -> None:
        while (held := self._schedule.next_to_fetch()) is not None:
            try:
                material = self._fetch(held.assignment, partial(self._renders.wants, held))
            except Exception as error:
                self._log.exception("fetch_broke", **held.names)
                self._fail(held, failure_of(error))
            else:
                self._begin_with(held, material)

    def _begin_with(self, held: Held, material: Material | None) -> None:
        """The render can begin, unless nobody wants it any more."""
        with self._renders.changing() as now:
            if material is not None and self._renders.wants(held):
                held.material = material
                held.moved_at = now

    def _fail(self, held: Held, failure: Failure) -> None:
        """The render can never begin; unless nobody wants it any more."""
        with self._renders.changing():
            if self._renders.wants(held):
                self._renders.end(held, Broke(failure=failure, gpu_seconds=held.gpu_seconds))
