"""Brings the parts of a stack up, adopting what lives; starts again what dies; takes all of it down."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from orchestrator.domain.errors import CogmillError, ConfigError
from orchestrator.local import process
from orchestrator.local.parts import Part
from orchestrator.local.ports import bindable
from orchestrator.local.state import StateFile

_LOOK_EVERY_S = 0.5
_STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    """When a part that died may start again: after 0.5 s, doubled by each death within a minute, up to 10 s."""

    deaths: int = 0
    at: float = 0.0

    def died(self, now: float) -> Restart:
        deaths = self.deaths + 1 if now - self.at < _STEADY_S else 1
        return Restart(deaths, now + min(10.0, 0.5 * 2 ** (deaths - 1)))


class Supervisor:
    """Keeps `parts` running and their identities on disk; `say` tells the user one line."""

    def __init__(self, state: StateFile, say: Callable[[str], None]) -> None:
        self._state = state
        self._say = say
        self._restarts: dict[str, Restart] = {}

    def refuse_taken_ports(self, parts: Sequence[Part]) -> None:
        """Raise `ConfigError` for the first port that somebody else holds."""
        for part in parts:
            if not self._adoptable(part) and not bindable(part.port):
                raise ConfigError(f"port {part.port} is taken by another program, and the stack's {part.name} needs it")

    def kill_left_over(self, parts: Sequence[Part]) -> None:
        """Kill what a killed run left of these parts: they hold nothing, and their successors adopt what they led."""
        for part in parts:
            self._kill(part)

    def take_down(self, parts: Sequence[Part]) -> None:
        """Stop these parts, all at once."""
        with ThreadPoolExecutor(len(parts)) as threads:
            list(threads.map(self._end, parts))

    def bring_up(self, parts: Sequence[Part]) -> None:
        """Adopt or start these parts, all at once, and wait until each serves. Raises `CogmillError`."""
        with ThreadPoolExecutor(len(parts)) as threads:
            list(threads.map(self._adopt_or_start, parts))

    def watch(self, parts: Sequence[Part], *, until: Event) -> None:
        """Start again what dies, with whatever does not survive that death, until told to stop."""
        while not until.wait(_LOOK_EVERY_S):
            for part in parts:
                if self._tend(part):
                    for dependant in parts:
                        if dependant.needs == part.name:
                            self._kill(dependant)

    def _tend(self, part: Part) -> bool:
        """Look after one part; True when it has come back from the dead just now."""
        identity = self._state.state.parts.get(part.name)
        if identity is not None and identity.process() is not None:
            return False
        now = time.monotonic()
        if identity is not None:
            self._restarts[part.name] = self._restarts.get(part.name, Restart()).died(now)
            self._say(f"{part.name} ended by itself and is being started again; its log is {part.log}")
            self._end(part)
        return now >= self._restarts[part.name].at and self._start_again(part)

    def _start_again(self, part: Part) -> bool:
        try:
            self._start(part)
        except CogmillError as error:
            self._say(str(error))
            return False
        return True

    def _adoptable(self, part: Part) -> bool:
        identity = self._state.state.parts.get(part.name)
        return identity is not None and part.healthy(identity)

    def _adopt_or_start(self, part: Part) -> None:
        if not self._adoptable(part):
            self._end(part)
            self._start(part)

    def _start(self, part: Part) -> None:
        identity = part.start()
        self._state.started(part.name, identity)
        part.wait_ready(identity)

    def _kill(self, part: Part) -> None:
        identity = self._state.state.parts.get(part.name)
        if identity is not None:
            process.stop(identity, sig=signal.SIGKILL)

    def _end(self, part: Part) -> None:
        identity = self._state.state.parts.get(part.name)
        if identity is not None:
            part.stop(identity)
            self._state.ended(part.name)
