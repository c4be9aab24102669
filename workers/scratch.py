"""A process's own temporary directory, removed at the end even when the process cannot: the next one sweeps it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "cogmill-scratch-"
_LOCK = "lock"


class Scratch:
    """A directory whose owner is alive as long as its lock is held; the kernel lets go of it at a `kill -9` too."""

    def __init__(self, root: Path | None = None) -> None:
        """Make one under `root` (the system's temporary directory), and remove those whose owners are gone."""
        root = root or Path(tempfile.gettempdir())
        _sweep(root)
        # Locked before it gets the name that sweepers look for.
        unnamed = Path(tempfile.mkdtemp(prefix=".cogmill-", dir=root))
        self._lock = os.open(unnamed / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = unnamed.rename(root / (_PREFIX + unnamed.name.removeprefix(".cogmill-")))

    def close(self) -> None:
        """Remove the directory with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _sweep(root: Path) -> None:
    for directory in root.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # somebody else's, or being removed
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
