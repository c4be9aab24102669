"""Where a model's files are on this node: a directory as it is, Hugging Face and S3 fetched whole and verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a fetch is: `doing` is `waiting` (for another process), `fetching` or `verifying`; in bytes."""

    source: str
    doing: str
    done: int = 0
    total: int = 0


OnProgress = Callable[[Progress], None]


def locate(source: str, cache: Path, s3: S3Settings, *, on_progress: OnProgress = lambda _: None) -> Path:
    """The local path of a source, whole. Blocks while it is fetched. Raises `ConfigError`."""
    if "://" in source:
        raise ConfigError(f"{source} cannot be fetched yet")
    path = Path(source).expanduser()
    if not path.exists():
        raise ConfigError(f"{source}: there is no such file or directory on this node")
    return path
