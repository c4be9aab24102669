"""The ring of master keys while a process serves: read again when its files have changed."""

from __future__ import annotations

from pydantic import SecretStr

from orchestrator.config import Settings, sources
from orchestrator.config.masters import parse_listed, ring_of
from orchestrator.domain.masters import Ring
from orchestrator.telemetry import logs

_log = logs.get("secrets")

_State = dict[str, tuple[int, int, int]]


class MasterFiles:
    """Called for the ring as it is now: a `stat` for each of its files while nothing changes, of which there are two.

    Files that are gone, half-written or wrong leave the ring as it was, and the log says so once. So does another key
    under a generation that is known: whoever held its secrets would be cut off.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigError` where there is no master key."""
        self._settings = settings
        self._ring = settings.needed_ring
        self._files = settings.master_files
        # A file that has changed since the settings were read is read again at once.
        self._seen: _State | None = None
        self._refused: str | None = None

    def __call__(self) -> Ring:
        if self._files:
            try:
                self._look()
            except (OSError, ValueError) as error:  # a file that is no UTF-8, too
                self._refuse(error)
        return self._ring

    def _look(self) -> None:
        """Raises `OSError` or `ValueError` for files that make no ring."""
        state = self._state()
        if state == self._seen:
            return
        texts = {name: sources.text_of(file) for name, file in self._files.items()}
        if self._state() != state:
            return  # it is being written: the next call looks again
        # A state is refused once: when it is mended, it is another one.
        self._seen = state
        ring = self._made(texts)
        empty = [name for name, text in texts.items() if not text.strip()]
        if empty and not set(self._ring.generations) <= set(ring.generations):
            raise ValueError(f"{empty[0]}: its file is empty")  # what writes it begins with that
        if changed := self._ring.changed(ring):
            told = ", ".join(map(str, changed))
            raise ValueError(f"master_keys: another key of generation {told}: a new key is a new generation")
        if ring != self._ring:
            _log.warning("master_keys_changed", generations=ring.generations, before=self._ring.generations)
        self._ring, self._refused = ring, None

    def _made(self, texts: dict[str, str]) -> Ring:
        single, listed = self._settings.master_key, self._settings.master_keys
        if (text := texts.get("master_key")) is not None:
            single = SecretStr(text) if text else None
        if (text := texts.get("master_keys")) is not None:
            listed = parse_listed(text)
        ring = ring_of(single, listed)
        if ring is None:
            raise ValueError("master_keys: there is none any more")
        return ring

    def _refuse(self, error: Exception) -> None:
        if self._refused != str(error):
            _log.error("changed_secrets_refused", error=str(error)[:500])
        self._refused = str(error)

    def _state(self) -> _State:
        stats = {name: file.stat() for name, file in self._files.items()}
        return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}
