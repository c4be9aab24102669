"""The tree of the release before this one, recorded beside this file: what an upgrade is tested against.

    .venv/bin/python tests/support/previous_release.py TAG

records what git has of a tag or commit. Do so when a release is tagged, with its own tag: the next one follows it.
It is a file, since a shallow clone has no history.
"""

from __future__ import annotations

import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

_HERE = Path(__file__).resolve()
_ARCHIVE = _HERE.with_suffix(".tar.xz")

# What a dispatcher and its workers are made of.
_PACKAGES = ("orchestrator", "workers")


def unpack(directory: Path) -> Path:
    """Put the tree into a directory, which `PYTHONPATH` may then name."""
    with tarfile.open(_ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    return directory


def commit() -> str:
    """The commit that is recorded, in 40 hex digits; git writes it into every archive that it makes."""
    with tarfile.open(_ARCHIVE) as archive:
        return archive.pax_headers["comment"]


def _record(revision: str) -> None:
    archived = subprocess.run(
        ["git", "archive", "--format=tar", f"{revision}^{{commit}}", *_PACKAGES],
        cwd=_HERE.parents[2],
        stdout=subprocess.PIPE,
        check=True,
    )
    _ARCHIVE.write_bytes(lzma.compress(archived.stdout, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    _record(sys.argv[1])
    print(f"{commit()} in {_ARCHIVE.stat().st_size} bytes")
