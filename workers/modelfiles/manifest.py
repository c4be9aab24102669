"""`manifest.json`: each file of a source with size and SHA-256. Written by a push, and by a fetch that is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from orchestrator.domain import jsontext
from orchestrator.domain.errors import ConfigError, IntegrityError

NAME = "manifest.json"
# On the node it is hidden: it tells where the files came from, which is no part of what they are.
LOCAL_NAME = f".{NAME}"
_FORMAT = 1
# Hashing runs outside the GIL; more threads than this only make the disk seek.
_THREADS = 4
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file; `sha256` is lower-case hex, None where a source does not tell it."""

    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The files of one source by their path within it, with `/`. `revision` names this very content at the source."""

    source: str
    revision: str
    files: Mapping[str, Entry]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files.values())

    def to_json(self) -> bytes:
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Raises `ConfigError`, naming `where`, for what is no manifest or names a file outside its directory."""
        try:
            document = jsontext.parse(data)
            if document["format"] != _FORMAT:
                raise ValueError(f"its format is {document['format']!r}, not {_FORMAT}")
            files = {str(name): Entry(int(file["size"]), file["sha256"]) for name, file in document["files"].items()}
            manifest = cls(source=str(document["source"]), revision=str(document["revision"]), files=files)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{where} is no manifest of Cogmill's: {type(error).__name__}: {error}") from None
        require_inside(files, where)
        return manifest


def read(directory: Path) -> Manifest | None:
    """The manifest that a fetch left in `directory`; None in a directory that came another way."""
    path = directory / LOCAL_NAME
    return Manifest.from_json(path.read_bytes(), str(path)) if path.is_file() else None


def require_inside(names: Iterable[str], where: str) -> None:
    """Raise `ConfigError` for a name that could lead out of the directory that it is written to, or that is hidden."""
    for name in names:
        parts = PurePosixPath(name).parts
        hidden = any(part.startswith(".") for part in parts)  # as `..` is, and what a fetch notes for itself
        if not name or name != "/".join(parts) or name.startswith("/") or hidden or "\\" in name or "\0" in name:
            raise ConfigError(f"{where} has a file named {name!r}, which is no plain path inside it")


def hashes(directory: Path, names: Iterable[str], moved: Callable[[int], None]) -> dict[str, Entry]:
    """Size and SHA-256 of these files, read now; `moved` is called from several threads with bytes as they are read."""

    def entry(name: str) -> Entry:
        digest, size = hashlib.sha256(), 0
        with (directory / name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                moved(len(chunk))
        return Entry(size, digest.hexdigest())

    listed = list(names)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as threads:
        return dict(zip(listed, threads.map(entry, listed), strict=True))


def differences(told: Mapping[str, Entry], found: Mapping[str, Entry]) -> list[str]:
    """Names of the files whose content is not the one that was told."""
    return [name for name, entry in told.items() if not _same(entry, found[name])]


def require_same(manifest: Manifest, directory: Path, moved: Callable[[int], None]) -> None:
    """Read every file again. Raises `IntegrityError` that names those which are gone or changed."""
    missing = [name for name in manifest.files if not (directory / name).is_file()]
    present = [name for name in manifest.files if name not in missing]
    found = hashes(directory, present, moved)
    changed = differences({name: manifest.files[name] for name in present}, found)
    if missing or changed:
        raise IntegrityError(f"{directory}: " + "; ".join(_complaints(missing, changed)))


def _complaints(missing: list[str], changed: list[str]) -> list[str]:
    said = [f"missing: {', '.join(missing)}"] if missing else []
    return [*said, f"not what was fetched: {', '.join(changed)}"] if changed else said


def _same(told: Entry, found: Entry) -> bool:
    return told.size == found.size and (told.sha256 is None or told.sha256 == found.sha256)
