"""S3's keys from files, which are read again when they have changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from botocore.credentials import Credentials, ReadOnlyCredentials

from orchestrator.config import sources

State = tuple[tuple[int, int, int], ...]


def keys_of(files: Mapping[str, Path], prefix: str) -> KeysOfFiles | None:
    """Those of `access_key` and `secret_key`, with this prefix, where both come from files."""
    pair = [files.get(f"{prefix}{name}") for name in ("access_key", "secret_key")]
    access, secret = pair
    return None if access is None or secret is None else KeysOfFiles(access, secret)


class KeysOfFiles(Credentials):
    """What botocore signs with: it asks for each request. Two `stat`s while nothing changes.

    Both keys are of one state of the files: what is half changed, empty or gone leaves them as they were.
    """

    def __init__(self, access: Path, secret: Path) -> None:
        super().__init__(sources.text_of(access), sources.text_of(secret), method="files")
        self._files = access, secret
        self._seen: State | None = None
        self._pair: ReadOnlyCredentials = super().get_frozen_credentials()

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        try:
            state = self._state()
            if state != self._seen:
                access, secret = (sources.text_of(file) for file in self._files)
                if access and secret and self._state() == state:
                    # In this order: whoever sees the new state has the new pair.
                    self._pair = ReadOnlyCredentials(access, secret, None, None)
                    self._seen = state
        except (OSError, UnicodeDecodeError):
            pass  # gone for a moment, or for good: requests with the old ones will say so
        return self._pair

    def _state(self) -> State:
        stats = (file.stat() for file in self._files)
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
