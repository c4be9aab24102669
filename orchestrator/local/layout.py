"""Where everything of one local stack lies on disk, and its lock: one `cogmill up` per data directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.errors import ConfigError
from orchestrator.local import postgres


def default() -> Path:
    """`./.cogmill`; or, for root in a directory that PostgreSQL's unprivileged user may not enter, one in /var/lib."""
    here = Path(".cogmill").absolute()
    if postgres.closed_ancestor(here) is None:
        return here
    folder = hashlib.sha256(os.fsencode(here.parent)).hexdigest()[:8]
    return Path("/var/lib/cogmill") / f"{here.parent.name}-{folder}"


@dataclass(frozen=True, slots=True)
class DataDir:
    """A stack's data directory; all paths below it are derived."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "cogmill.toml"

    @property
    def state(self) -> Path:
        return self.root / "stack.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def ray_token(self) -> Path:
        return self.secrets / "ray_token"

    @property
    def api_key(self) -> Path:
        return self.secrets / "api_key"

    @property
    def database(self) -> Path:
        return self.root / "postgres"

    @property
    def objects(self) -> Path:
        return self.root / "s3"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def home(self) -> Path:
        """The home of whoever has none that can be written."""
        return self.root / "home"

    def log(self, part: str) -> Path:
        return self.root / "logs" / f"{part}.log"

    def create(self) -> None:
        """Make the directory: private, but PostgreSQL's unprivileged user must pass through when we are root.

        Raises `ConfigError`.
        """
        try:
            str(self.root.absolute()).encode()
        except UnicodeEncodeError:
            raise ConfigError(f"the name of the data directory {str(self.root)!r} is not UTF-8") from None
        try:
            if not self.root.exists():
                self.root.mkdir(parents=True)
                self.root.chmod(0o700 if postgres.server_user() is None else 0o711)
            # Also those that an earlier release made for all to read. The root is no shelter where we are root.
            for private in (self.root / "logs", self.models, self.objects, self.home, self.secrets):
                private.mkdir(mode=0o700, exist_ok=True)
                private.chmod(0o700)
        except OSError as error:
            raise ConfigError(f"cannot use {self.root} as the data directory: {error.strerror}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process. The kernel lets go of it when we die, so no lock is ever stale.

        Raises `ConfigError` when another process holds it.
        """
        path = self.root / "lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None
        try:
            _lock(file, path)
            yield
        finally:
            os.close(file)


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(file, 0)
        os.write(file, str(os.getpid()).encode())
    except BlockingIOError:
        holder = path.read_text().strip() or "?"
        raise ConfigError(f"a stack is already running in {path.parent} (pid {holder})") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
