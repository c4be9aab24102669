"""Brings the parts of a stack up, adopting what lives; starts again what dies; takes all of it down."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from orchestrator.domain.errors import CogmillError
from orchestrator.domain.retry import FULL, Backoff
from orchestrator.local import portbook, process
from orchestrator.local.parts import StackPart
from orchestrator.local.process import ProcessId
from orchestrator.local.state import MARK_PREFIX, StateFile

_LOOK_EVERY_S = 0.5
_STEADY_S = 60.0
_BACKOFF = Backoff(base_s=0.5, cap_s=10.0, spread=FULL)


@dataclass(frozen=True, slots=True)
class Restart:
    """When a part that died may start again: a death within a minute of the last start makes the next pause longer."""

    deaths: int = 0
    at: float = 0.0

    def died(self, now: float) -> Restart:
        deaths = self.deaths + 1 if now - self.at < _STEADY_S else 1
        return Restart(deaths, now + _BACKOFF.delay_s(deaths, jitter=0))


class Supervisor:
    """Keeps `parts` running and their identities on disk; `say` tells the user one line."""

    def __init__(self, state: StateFile, say: Callable[[str], None]) -> None:
        self._state = state
        self._say = say
        self._restarts: dict[str, Restart] = {}

    def adopt(self, parts: Sequence[StackPart]) -> None:
        """Keep what a killed run left of these parts and serves; end what of it does not (yet) serve."""
        for part in parts:
            self._recognise(part)
            identity = self._identity(part)
            if identity is not None and not part.healthy(identity):
                self._end(part)

    def kill_left_over(self, parts: Sequence[StackPart]) -> None:
        """Kill what a killed run left of these parts: they hold nothing, and their successors adopt what they led."""
        for part in parts:
            self._recognise(part)
            self._kill(part)
            self._state.ended(part.name)

    def refuse_taken_ports(self, parts: Sequence[StackPart]) -> None:
        """Raise `ConfigError` for the first port of a part to be started that somebody else holds."""
        portbook.refuse_taken({part.name: part.port for part in parts if self._identity(part) is None})

    def take_down(self, parts: Sequence[StackPart]) -> None:
        """Stop these parts, all at once; one that cannot be stopped keeps none of the others running."""
        with ThreadPoolExecutor(len(parts)) as threads:
            ends = [threads.submit(self._end, part) for part in parts]
        for end in ends:
            end.result()

    def bring_up(self, parts: Sequence[StackPart]) -> None:
        """Start those of these parts that were not adopted, all at once, and wait until each serves.

        Raises `CogmillError`.
        """
        with ThreadPoolExecutor(len(parts)) as threads:
            list(threads.map(self._start, [part for part in parts if self._identity(part) is None]))

    def watch(self, parts: Sequence[StackPart], *, until: Event, stale: Callable[[], Collection[str]] = tuple) -> None:
        """Start again what dies or `stale` names, with whatever does not survive that, until told to stop."""
        while not until.wait(_LOOK_EVERY_S):
            outdated = stale()
            for part in parts:
                is_back = self._renew(part) if part.name in outdated else self._tend(part)
                if is_back:
                    for dependant in parts:
                        if dependant.needs == part.name:
                            self._kill(dependant)

    def _renew(self, part: StackPart) -> bool:
        """Start one part again that could have gone on; True when it has come back."""
        self._say(f"{part.name} is being started again: its source has changed")
        self._end(part)
        self._restarts[part.name] = Restart(at=time.monotonic())
        return self._start_again(part)

    def _tend(self, part: StackPart) -> bool:
        """Look after one part; True when it has come back from the dead just now."""
        identity = self._identity(part)
        if identity is not None and identity.process() is not None:
            return False
        now = time.monotonic()
        if identity is not None:
            self._restarts[part.name] = self._restarts.get(part.name, Restart()).died(now)
            self._say(f"{part.name} ended by itself and is being started again; its log is {part.log}")
            self._end(part)
        return now >= self._restarts[part.name].at and self._start_again(part)

    def _start_again(self, part: StackPart) -> bool:
        try:
            self._start(part)
        except (CogmillError, OSError) as error:
            self._say(str(error))
            if self._identity(part) is None:
                self._restarts[part.name] = self._restarts[part.name].died(time.monotonic())
            return False
        return True

    def _identity(self, part: StackPart) -> ProcessId | None:
        return self._state.state.parts.get(part.name)

    def _start(self, part: StackPart) -> None:
        # Whenever we are killed, what we started is found again: until its identity is on disk, by its mark.
        mark = f"{MARK_PREFIX}{part.name}-{secrets.token_hex(8)}"
        self._state.starts(part.name, mark)
        identity = part.start(mark)
        self._state.started(part.name, identity)
        part.wait_ready(identity)

    def _recognise(self, part: StackPart) -> None:
        """Find what was started and never recorded, because whoever started it was killed in between."""
        mark = self._state.state.starting.get(part.name)
        if mark is None:
            return
        found = process.marked(mark)
        leader = next(filter(process.leads, found), None)
        if leader is not None:
            self._state.started(part.name, ProcessId.of(leader.pid))
        else:
            process.kill_all(found)
            self._state.ended(part.name)

    def _kill(self, part: StackPart) -> None:
        identity = self._identity(part)
        if identity is not None:
            process.stop(identity, sig=signal.SIGKILL)

    def _end(self, part: StackPart) -> None:
        identity = self._identity(part)
        if identity is not None:
            part.stop(identity)
            self._state.ended(part.name)
