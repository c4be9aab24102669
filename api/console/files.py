"""The console's files as they lie in this package: read once, with their types, sums and a packed copy."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_PACKED = {".html", ".js", ".css", ".svg"}
# Below that, a packed copy is no smaller on the wire.
_LEAST_TO_PACK = 500


@dataclass(frozen=True, slots=True)
class File:
    """`tag` is the entity tag of `data`; `packed` the same as gzip, where that is worth it."""

    data: bytes
    media_type: str
    tag: str
    packed: bytes | None

    @classmethod
    def of(cls, data: bytes, suffix: str) -> Self:
        # No time in the packed copy: every replica has the same bytes.
        packed = gzip.compress(data, 6, mtime=0) if suffix in _PACKED and len(data) > _LEAST_TO_PACK else None
        return cls(data, _TYPES[suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"', packed)


@cache
def files() -> Mapping[str, File]:
    """All that is served, by its path below `static`: what has a type, and nothing else that lies there."""
    found = (path for path in sorted(STATIC.rglob("*")) if path.suffix in _TYPES and path.is_file())
    return {path.relative_to(STATIC).as_posix(): File.of(path.read_bytes(), path.suffix) for path in found}


@cache
def version() -> str:
    """A name for this release's files all together: a path with it leads to the same bytes for ever."""
    tags = "".join(f"{path} {file.tag}\n" for path, file in files().items())
    return hashlib.sha256(tags.encode()).hexdigest()[:16]


@cache
def index(base: str) -> File:
    """The page, whose links stand below `base` and are those of this release's files.

    All modules are named in it, so that a browser asks for them at once and not one behind the other.
    """
    root = f"{base}/console/static/{version()}"
    modules = (path for path in files() if path.endswith(".js") and not path.startswith("words/"))
    preloads = "\n".join(f'<link rel="modulepreload" href="{root}/{path}">' for path in modules)
    text = (
        files()[INDEX].data.decode().replace("<!--modules-->", preloads).replace("BASE", base).replace("STATIC", root)
    )
    return File.of(text.encode(), ".html")
