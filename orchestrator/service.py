"""Starts, signals and drains the loops of the two background processes: the dispatcher and the maintainer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator

from orchestrator import health, logs, metrics
from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import Settings
from orchestrator.dispatcher import Dispatcher
from orchestrator.domain.errors import StaleEpoch
from orchestrator.domain.protocol import Caller
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.watchdog import Patience
from orchestrator.fleet import Fleet
from orchestrator.ports import JobStore, WorkerPool
from orchestrator.rescuer import Rescuer
from orchestrator.retention import Retention
from orchestrator.scaler import Scaler, plans
from orchestrator.settler import Settler
from orchestrator.store import Store
from orchestrator.watcher import Desk, Limits, Watcher

_log = logs.get("service")

RunOnce = Callable[[], Awaitable[object]]

# A loop that raises is run again after this many seconds.
BACKOFF_S = 1.0


class SystemClock:
    """The `Clock` of a real process."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Loops:
    """Runs `run_once` functions for ever, each in a task; a failure is counted, logged and tried again."""

    def __init__(self, tasks: asyncio.TaskGroup, pulse: health.Pulse) -> None:
        self._tasks = tasks
        self._pulse = pulse
        self._running: list[asyncio.Task[None]] = []

    def every(
        self, seconds: float, name: str, run_once: Callable[[], Awaitable[object]], *, watched: bool = False
    ) -> None:
        """Run it, wait `seconds`, and so on. A watched loop's silence makes the health page fail."""

        async def pause() -> None:
            await asyncio.sleep(seconds)

        self.after(pause, name, run_once, watched=watched)

    def after(
        self,
        pause: Callable[[], Awaitable[None]],
        name: str,
        run_once: RunOnce,
        *,
        watched: bool = False,
    ) -> asyncio.Task[None]:
        """Run it, then again whenever `pause` returns."""

        async def loop() -> None:
            while True:
                try:
                    await run_once()
                    if watched:
                        self._pulse.beat(name)
                    await pause()
                except StaleEpoch:
                    raise  # a newer dispatcher drives this cluster: the whole process must end
                except Exception as error:
                    metrics.loop_failures.labels(name).inc()
                    _log.warning("loop_failed", loop=name, error=f"{type(error).__name__}: {error}"[:500])
                    await asyncio.sleep(BACKOFF_S)

        if watched:
            self._pulse.beat(name)
        task = self._tasks.create_task(loop(), name=name)
        self._running.append(task)
        return task

    def stop(self) -> None:
        """Cancel every loop; a transaction under way ends or rolls back as a whole."""
        for task in self._running:
            task.cancel()


async def run_dispatcher(
    settings: Settings, connect: Callable[[str | None, str], WorkerPool], *, drain_s: float | None = None
) -> None:
    """Drive one Ray cluster until SIGTERM or SIGINT.

    `connect(address, namespace)` joins the cluster. With `drain_s` the end waits that long for what is rendering and
    evicts the rest; without it workers render on, and the next dispatcher adopts them.
    Raises `StaleEpoch` when a newer dispatcher has taken over.
    """
    async with Store.open(settings.database_url) as store:
        namespace = f"cogmill-{await store.deployment_id()}"
        pool = await asyncio.to_thread(connect, settings.ray.address, namespace)
        with stop_signals() as stopping:  # after ray.init, which installs a handler of its own
            caller = Caller(epoch=await store.next_epoch(settings.ray.cluster))
            desk = _desk(settings, store, pool, caller)
            dispatcher = Dispatcher(desk, tuple(settings.pools))
            await dispatcher.reconcile()
            _log.info("dispatching", cluster=desk.cluster, epoch=caller.epoch, adopted=len(desk.fleet.claims))
            pulse = health.Pulse(patience_s=60)
            with health.serve(settings.metrics.host, settings.metrics.dispatch_port, pulse):
                async with asyncio.TaskGroup() as tasks:
                    loops = Loops(tasks, pulse)
                    _start_dispatching(loops, settings, desk, dispatcher)
                    await stopping.wait()
                    if drain_s is not None:
                        await dispatcher.drain(drain_s)
                    loops.stop()


def _desk(settings: Settings, store: JobStore, pool: WorkerPool, caller: Caller) -> Desk:
    lease, watchdog = settings.lease, settings.watchdog
    return Desk(
        cluster=settings.ray.cluster,
        caller=caller,
        fleet=Fleet(),
        store=store,
        pool=pool,
        settler=_settler(settings, store),
        clock=SystemClock(),
        limits=Limits(
            poll_s=lease.poll_timeout_s,
            ttl_s=lease.ttl_s,
            patience=Patience(floor_s=watchdog.floor_s, factor=watchdog.factor, upload_s=watchdog.upload_s),
            unheld_grace_s=lease.unheld_grace_s,
            load_s=watchdog.load_s,
        ),
    )


def _settler(settings: Settings, store: JobStore) -> Settler:
    policy = RetryPolicy(base_s=settings.retry.base_s, cap_s=settings.retry.cap_s)
    return Settler(store, S3Objects(settings.s3), policy, random.Random())


def _start_dispatching(loops: Loops, settings: Settings, desk: Desk, dispatcher: Dispatcher) -> None:
    scaler = Scaler(desk, plans(settings))
    watched: dict[str, asyncio.Task[None]] = {}

    async def scale() -> None:
        seats = await scaler.run_once()
        for seat in seats:
            if seat.name not in watched:
                watched[seat.name] = loops.after(_at_once, f"watch-{seat.name}", Watcher(desk, seat).run_once)
        for name in set(watched) - {seat.name for seat in seats}:
            watched.pop(name).cancel()
        metrics.show_workers((seat.pool, seat.status.state) for seat in seats if seat.status is not None)

    async def listen() -> None:
        async with desk.store.wakeups() as wakeups:
            while True:
                if await wakeups.wait(30):
                    dispatcher.announce()

    async def work_or_a_second() -> None:
        try:
            await asyncio.wait_for(desk.fleet.changed.wait(), 1.0)
        except TimeoutError:
            dispatcher.announce()  # an announcement can be lost with its connection: look once a second anyway

    loops.every(2.0, "scale", scale, watched=True)
    loops.every(1.0, "listen", listen)
    loops.after(work_or_a_second, "dispatch", dispatcher.run_once)
    loops.every(settings.lease.beat_s, "beat", dispatcher.beat)
    loops.every(settings.lease.cancel_poll_s, "cancel", dispatcher.cancel)
    loops.every(settings.lease.unheld_grace_s / 3, "reconcile", dispatcher.reconcile)
    loops.every(0.5, "progress", dispatcher.write_progress)
    loops.every(1.0, "wake_due", dispatcher.wake_due)
    _show_queue(loops, settings, desk.store)


async def run_maintainer(settings: Settings) -> None:
    """Rescue, sweep and count until SIGTERM or SIGINT. Any number may run: every write is fenced or idempotent."""
    async with Store.open(settings.database_url) as store:
        rescuer = Rescuer(store, _settler(settings, store), SystemClock(), settings.lease.ttl_s)
        retention = Retention(store, S3Objects(settings.s3), settings.retention)
        pulse = health.Pulse(patience_s=600)
        with (
            stop_signals() as stopping,
            health.serve(settings.metrics.host, settings.metrics.maintain_port, pulse),
        ):
            async with asyncio.TaskGroup() as tasks:
                loops = Loops(tasks, pulse)
                loops.every(min(5.0, settings.lease.ttl_s / 4), "rescue", rescuer.run_once)
                loops.every(settings.retention.every_s, "retention", retention.run_once)
                _show_queue(loops, settings, store)
                await stopping.wait()
                loops.stop()


def _show_queue(loops: Loops, settings: Settings, store: JobStore) -> None:
    async def show() -> None:
        metrics.show_queue(await store.queue_depth())

    loops.every(settings.metrics.queue_every_s, "queue_depth", show)


async def _at_once() -> None:
    """No pause: a long poll waits by itself."""


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, for as long as the block runs."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stopping.set)
    try:
        yield stopping
    finally:
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(sig)
