"""Whether a model's files have changed: what could not be loaded is tried again at once then."""

from __future__ import annotations

from pathlib import Path


class FilesWatch:
    """Whether the files of a source have changed since the first look, as far as they can be seen from here."""

    def __init__(self, source: str) -> None:
        self._path = None if "://" in source else Path(source).expanduser()
        self._first: object = None
        self._last: object = None

    def changed(self) -> bool:
        """Look again: True when they are others than at the first look, and at rest: the same as at the last."""
        now = self._look()
        if self._first is None:
            self._first = now
        quiet, self._last = now == self._last, now
        return quiet and now != self._first

    def _look(self) -> object:
        """Names, sizes and times of all files; those that vanish under our eyes are seen as gone the next time."""
        if self._path is None:
            return ()
        found = []
        for path in [self._path] if self._path.is_file() else sorted(self._path.rglob("*")):
            try:
                told = path.stat()
            except OSError:
                continue
            found.append((str(path), told.st_size, told.st_mtime_ns))
        return tuple(found)
