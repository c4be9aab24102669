"""Files on this process's own disk, for what is too large for memory on its way to or from S3."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.domain.errors import ScratchUnavailable


@dataclass(frozen=True, slots=True)
class Scratch:
    """An open, empty file and where it is."""

    file: IO[bytes]
    path: Path


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A file in the system's temporary directory until the block ends.

    Whatever the operating system refuses in the block, a full disk above all, is a `ScratchUnavailable`.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix="cogmill-") as file:
            yield Scratch(file.file, Path(file.name))
    except OSError as error:
        raise ScratchUnavailable(f"the scratch disk: {error}") from error
