"""The sweeper of campaigns that were deleted: their manifests go, then themselves."""

from __future__ import annotations

import asyncio

from orchestrator.domain.objects import manifest_prefix
from orchestrator.objects.orphans import delete_all
from orchestrator.ports import ObjectStore
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.telemetry import aside

_LIMIT = 100


class ManifestSweeper:
    """Deletes what deleted campaigns have left in the bucket, then their last row. Several may run side by side."""

    def __init__(self, store: CampaignStore, objects: ObjectStore, *, keep_s: float | None) -> None:
        self._store = store
        self._objects = objects
        self._keep_s = keep_s

    async def run_once(self) -> int:
        """Delete campaigns that ended too long ago, then sweep what was deleted; how many. Raises `Unavailable`."""
        if self._keep_s is not None:
            await self._store.delete_ended(older_than_s=self._keep_s)
        done = 0
        for kept in await self._store.deleted_campaigns(limit=_LIMIT):
            with aside.unless_it_breaks("campaign_manifests", campaign=kept.id):
                prefix = manifest_prefix(kept.tenant, kept.id)
                keys = await asyncio.to_thread(self._keys, prefix)
                if not keys or not await delete_all(self._objects, keys, "campaign_manifests"):
                    await self._store.forget_campaign(kept)
                    done += 1
        return done

    def _keys(self, prefix: str) -> list[str]:
        return list(self._objects.list_keys(prefix))
