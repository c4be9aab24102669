"""`cogmill model fetch|list|verify|push`: the configured models and adapters on this node, and a checkpoint into S3."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from orchestrator.config import S3Settings, Settings
from orchestrator.domain.errors import CogmillError, ConfigError

# Without a terminal a line says how far it is, at most this often, in seconds.
_LINE_EVERY_S = 5.0


class Movement(Protocol):
    """How far a source is, in bytes (`workers.modelfiles.Progress`)."""

    @property
    def doing(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...


class Found(Protocol):
    """Where a source is, and what of it (`workers.modelfiles.Finding`)."""

    @property
    def state(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> int: ...
    @property
    def revision(self) -> str | None: ...


Tell = Callable[[Movement], None]


class ModelFiles(Protocol):
    """What `workers.modelfiles` does; the composition root brings it."""

    def locate(self, source: str, cache: Path, s3: S3Settings, *, on_progress: Tell) -> Path: ...
    def look(self, source: str, cache: Path, s3: S3Settings) -> Found: ...
    def verify(self, source: str, cache: Path, s3: S3Settings, *, on_progress: Tell) -> Found: ...
    def push(self, directory: Path, destination: str, s3: S3Settings, *, on_progress: Tell) -> object: ...


@dataclass(frozen=True, slots=True)
class Item:
    """A configured model or adapter."""

    kind: str
    name: str
    source: str


def choose(settings: Settings, names: Sequence[str], *, every: bool) -> list[Item]:
    """Those of these names, or all. Raises `ConfigError` for a name that is not configured, and for both or neither."""
    if every is bool(names):
        raise ConfigError("name models or adapters, or say --all")
    known = _items(settings)
    for name in names:
        if all(item.name != name for item in known):
            raise ConfigError(f"{name!r} is no configured model or adapter: {', '.join(item.name for item in known)}")
    return [item for item in known if every or item.name in names]


def show(settings: Settings, files: ModelFiles, say: Callable[[str], None]) -> None:
    """One line for each model and adapter: whether it is on this node, its size, where it is and comes from."""
    for item in _items(settings):
        try:
            found = files.look(item.source, settings.models_cache, settings.s3)
        except CogmillError as error:  # one that is damaged does not hide the others
            say(f"{'damaged':<8} {item.kind:<8} {item.name:<24} {error}")
            continue
        origin = "" if item.source == str(found.path) else f"  <- {item.source}"
        revision = "" if found.revision is None else f" at {found.revision[:12]}"
        size = f"{found.size / 2**30:.2f} GiB"
        say(f"{found.state:<8} {item.kind:<8} {item.name:<24} {size:>10}  {found.path}{origin}{revision}")


def fetch(settings: Settings, chosen: Sequence[Item], files: ModelFiles, say: Callable[[str], None]) -> bool:
    """Bring these to this node; True when all are. What fails is said, and does not keep the others from coming."""

    def one(item: Item, tell: Tell) -> str:
        return str(files.locate(item.source, settings.models_cache, settings.s3, on_progress=tell))

    return _each(chosen, one, say)


def verify(settings: Settings, chosen: Sequence[Item], files: ModelFiles, say: Callable[[str], None]) -> bool:
    """Read these again, and compare; True when all are whole and unchanged."""

    def one(item: Item, tell: Tell) -> str:
        found = files.verify(item.source, settings.models_cache, settings.s3, on_progress=tell)
        against = "as it was fetched" if found.state == "fetched" else "whole; nothing says what it should be"
        return f"{found.path} is {against}"

    return _each(chosen, one, say)


def push(settings: Settings, directory: Path, destination: str, files: ModelFiles, say: Callable[[str], None]) -> None:
    """Publish a checkpoint or an adapter at `s3://bucket/prefix`. Raises as `workers.modelfiles.push` does."""
    with _told(directory.name, say) as tell:
        files.push(directory, destination, settings.s3, on_progress=tell)
    say(f"{directory} is at {destination}")


def _items(settings: Settings) -> list[Item]:
    models = [Item("model", name, model.source) for name, model in settings.models.items()]
    return models + [Item("adapter", name, adapter.source) for name, adapter in settings.adapters.items()]


def _each(chosen: Sequence[Item], act: Callable[[Item, Tell], str], say: Callable[[str], None]) -> bool:
    well = True
    for item in chosen:
        try:
            with _told(item.name, say) as tell:
                outcome = act(item, tell)
            say(f"{item.kind} {item.name}: {outcome}")
        except CogmillError as error:
            say(f"{item.kind} {item.name}: FAIL {error}")
            well = False
    return well


@contextmanager
def _told(name: str, say: Callable[[str], None]) -> Iterator[Tell]:
    """A bar on a terminal, else lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name, say)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def move(to: Movement) -> None:
            bar.update(task, description=f"{name} {to.doing}", completed=to.done, total=to.total or None)

        yield move


def _lines(name: str, say: Callable[[str], None]) -> Tell:
    said: tuple[str, float] | None = None

    def move(to: Movement) -> None:
        nonlocal said
        now = time.monotonic()
        if said is None or said[0] != to.doing or now - said[1] >= _LINE_EVERY_S:
            said = (to.doing, now)
            say(f"{name} {to.doing}: {to.done >> 20} of {to.total >> 20} MiB")

    return move
