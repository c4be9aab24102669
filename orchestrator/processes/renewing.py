"""Ends a process that has handed on secrets which then changed: the next one hands on the new ones."""

from __future__ import annotations

import asyncio

from orchestrator import config
from orchestrator.config import sources
from orchestrator.domain.errors import ConfigError
from orchestrator.telemetry import logs

_log = logs.get("secrets")

EVERY_S = 10.0
# Read again for each connection; and the master keys, which a dispatcher has no use for.
_ELSEWHERE = frozenset({"database_url", "listen_url", "master_key", "master_keys"})


class Renewal:
    """Looks whether files of secrets say something else than at the start, with which a process could start."""

    def __init__(self) -> None:
        # Set once they do.
        self.due = asyncio.Event()
        self._refused: str | None = None
        self._known = _told()

    async def run_once(self) -> None:
        told = _told()
        if told == self._known:
            return
        try:
            config.load()
        except ConfigError as error:
            if self._refused != str(error):
                _log.error("changed_secrets_refused", error=str(error)[:500])
            self._refused = str(error)
            return
        changed = sorted(name for name in told.keys() | self._known.keys() if told.get(name) != self._known.get(name))
        _log.warning("secrets_changed", files=changed)
        self.due.set()


def _told() -> dict[str, str]:
    return {name: text for name, text in sources.secrets().items() if name.lower() not in _ELSEWHERE}
