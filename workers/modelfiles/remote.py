"""A source that is not on this node: its list of files, and how to bring one of them here."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Protocol

from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError
from workers.modelfiles.manifest import Manifest


class Remote(Protocol):
    """Both calls raise `ConfigError` for what is wrong for good, and `Unavailable` for what may be better later."""

    def listing(self) -> Manifest:
        """The wanted files as they are there now; what is fetched by it afterwards is this very revision."""
        ...

    def download(self, listed: Manifest, name: str, into: Path, stop: Event) -> None:
        """Write a listed file to `into/name`, going on where an earlier try left off; gives up when `stop` is set."""
        ...


def connect(source: str, s3: S3Settings) -> Remote:
    """The remote of an `hf://` or `s3://` source. Raises `ConfigError` for any other."""
    # Each with its own client library, imported by whoever fetches from there.
    scheme = source.partition("://")[0]
    if scheme == "hf":
        from workers.modelfiles.hub import HubRemote

        return HubRemote.parse(source)
    if scheme == "s3":
        from workers.modelfiles.bucket import BucketRemote

        return BucketRemote.parse(source, s3)
    raise ConfigError(f"source {source!r} is neither a directory nor hf:// nor s3://")
