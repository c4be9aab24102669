"""What `cogmill up` remembers between runs in stack.json: its ports, and the processes that it started."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from orchestrator.domain import jsontext
from orchestrator.domain.errors import ConfigError
from orchestrator.local.process import ProcessId
from orchestrator.local.secrets import write

T = TypeVar("T")

MARK_PREFIX = "cogmill-"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`ports`, `parts` and `starting` are by part name; `ray_temp_dir` is the running Ray's directory, or None.

    `starting` has the mark of a process that was about to be started: it may run, and be in `parts` any moment.
    """

    ports: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, ProcessId] = field(default_factory=dict)
    starting: Mapping[str, str] = field(default_factory=dict)
    ray_temp_dir: Path | None = None

    def to_json(self) -> str:
        parts = {name: asdict(identity) for name, identity in self.parts.items()}
        temp = None if self.ray_temp_dir is None else str(self.ray_temp_dir)
        content = {"ports": dict(self.ports), "parts": parts, "starting": dict(self.starting), "ray_temp_dir": temp}
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> State:
        """Raises `ValueError` for what `to_json` did not write."""
        try:
            return cls._of(jsontext.parse(text))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(str(error)) from None

    @classmethod
    def _of(cls, data: Any) -> State:
        ports = {str(name): _within(range(1, 65536), port) for name, port in data["ports"].items()}
        parts = {str(name): _identity(part) for name, part in data["parts"].items()}
        starting = {str(name): _mark(mark) for name, mark in data["starting"].items()}
        temp = data["ray_temp_dir"]
        return cls(ports=ports, parts=parts, starting=starting, ray_temp_dir=None if temp is None else Path(temp))


class StateFile:
    """The state on disk, written through on every change; parts that start in parallel threads may share it.

    What it says in memory holds also when a write raises `ConfigError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._state = self._read()

    @property
    def state(self) -> State:
        return self._state

    def keep_ports(self, ports: Mapping[str, int]) -> None:
        with self._lock:
            self._replace(replace(self._state, ports=dict(ports)))

    def keep_ray_temp_dir(self, path: Path | None) -> None:
        with self._lock:
            self._replace(replace(self._state, ray_temp_dir=path))

    def starts(self, part: str, mark: str) -> None:
        with self._lock:
            self._replace(replace(self._state, starting={**self._state.starting, part: mark}))

    def started(self, part: str, identity: ProcessId) -> None:
        with self._lock:
            known = self._state
            self._replace(
                replace(known, parts={**known.parts, part: identity}, starting=_without(part, known.starting))
            )

    def ended(self, part: str) -> None:
        with self._lock:
            known = self._state
            without = replace(known, parts=_without(part, known.parts), starting=_without(part, known.starting))
            # A note that stays on a full disk does no harm: it names a process, or a mark, that nothing has any more.
            with suppress(ConfigError):
                self._replace(without)

    def _replace(self, state: State) -> None:
        self._state = state  # first: what runs must be known to whoever stops it, whatever the disk says
        write(self._path, state.to_json())

    def _read(self) -> State:
        try:
            return State.from_json(self._path.read_text())
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise ConfigError(f"cannot read {self._path}: {error.strerror}") from None
        except ValueError:
            raise ConfigError(
                f"{self._path} is damaged: what a killed run left behind cannot be told. "
                f"End its processes by hand, then delete the file"
            ) from None


def _identity(part: Any) -> ProcessId:
    started = float(part["started"])
    if not math.isfinite(started):
        raise ValueError(f"{started} is no time")
    return ProcessId(_within(range(1, 2**31), part["pid"]), started)


def _within(allowed: range, number: Any) -> int:
    if type(number) is not int or number not in allowed:
        raise ValueError(f"{number!r} is not within {allowed}")
    return number


def _mark(mark: Any) -> str:
    """An empty or short one would be found on processes that are none of ours."""
    if not mark.startswith(MARK_PREFIX):
        raise ValueError(f"{mark!r} is no mark")
    return str(mark)


def _without(part: str, entries: Mapping[str, T]) -> dict[str, T]:
    return {name: entry for name, entry in entries.items() if name != part}
