"""Seals what the audit log has come to, and deletes what is too old; for the maintainer, who has the master key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.domain.audit_chain import Checkpoint, Entry, Keys, Seal, checkpoint_at, is_genuine, sealed
from orchestrator.domain.errors import IntegrityError
from orchestrator.domain.masters import Masters
from orchestrator.ports.audit import AuditStore
from orchestrator.telemetry import logs, metrics

_log = logs.get("audit")

# Entries of one seal, and seals of one round of retention.
AT_MOST = 500
_PRUNED_AT_ONCE = 200


class Sealer:
    """Any number may run: the store lets one of them at a time.

    It goes on from nothing that it cannot have made: what is behind a forged end would vouch for it.
    """

    def __init__(self, store: AuditStore, masters: Masters, *, keep_s: float) -> None:
        self._store = store
        self._masters = masters
        self._keep_s = keep_s

    async def run_once(self) -> None:
        """Seal all that can be. Raises `StoreUnavailable`, and `IntegrityError` where the chain's end is not ours."""
        waiting = await self._store.unsealed()
        metrics.show_unsealed(waiting.count, waiting.age_s)
        while waiting.count:
            seal = await self._store.seal_audit(self._sealed, at_most=AT_MOST)
            if seal is None:
                return
            metrics.audit_seals.inc()
            # Wherever logs are kept, heads are kept with them.
            _log.info("audit_sealed", seal=seal.number, link=seal.link, entries=len(seal.ids))
            if len(seal.ids) < AT_MOST:
                return

    async def prune(self) -> None:
        """Delete what is older than it has to be. Raises as `run_once` does."""
        gone = await self._store.prune_audit(self._checkpoint, keep_s=self._keep_s, at_most=_PRUNED_AT_ONCE)
        if gone:
            _log.info("audit_pruned", entries=gone)

    def _sealed(self, entries: Sequence[Entry], previous: Seal | Checkpoint | None, at: datetime) -> Seal:
        if previous is not None:
            self._check(previous)
        return sealed(entries, previous, at, Keys.of(self._masters()))

    def _checkpoint(self, seal: Seal, entries: int, at: datetime) -> Checkpoint:
        self._check(seal)
        return checkpoint_at(seal, entries, at, Keys.of(self._masters()))

    def _check(self, end: Seal | Checkpoint) -> None:
        if not is_genuine(end, Keys.of(self._masters())):
            raise IntegrityError(
                f"the audit log's seal {end.number} was not made with this deployment's master key, so nothing is "
                "sealed behind it: see `cogmill audit verify`"
            )
