"""What is asked of the cluster -> what its dispatcher does: claim, or claim no more and let its renders leave."""

from __future__ import annotations

from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.ports.clusters import WishStore
from orchestrator.telemetry import logs

_log = logs.get("retirement")


class Retirement:
    """Obeys the wish that stands in the database for this cluster, and says there that it does."""

    def __init__(self, cluster: Cluster, dispatcher: Dispatcher, store: WishStore) -> None:
        self._cluster = cluster
        self._dispatcher = dispatcher
        self._store = store
        # The last wish that was said to be obeyed.
        self._said = -1

    async def run_once(self) -> bool:
        """Read what is asked and do it; whether the cluster retires."""
        name, dispatcher = self._cluster.name, self._dispatcher
        wish = await self._store.cluster_wish(name)
        if not wish.retires:
            if dispatcher.retires:
                _log.info("claims_again", cluster=name)
                dispatcher.go_on()
            return False
        if not dispatcher.retires:
            _log.info("retires", cluster=name, left_s=wish.left_s, renders=len(self._cluster.claims.by_token))
        await dispatcher.hold_back()
        if self._said != wish.version:
            await self._store.cluster_obeys(name, wish.version)
            self._said = wish.version
        await dispatcher.hand_back(wish.left_s)
        return True
