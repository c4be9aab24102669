"""The store: every port that keeps rows, on PostgreSQL. Each part has a file of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

from orchestrator.config.database import Access
from orchestrator.policy.limits import NO_LIMITS, Limits
from orchestrator.ports import Wakeups
from orchestrator.store.audit import Audit
from orchestrator.store.audit_log import AuditLog
from orchestrator.store.audit_sealing import AuditSealing
from orchestrator.store.batches import Batches
from orchestrator.store.bulk import BulkActions
from orchestrator.store.bulk_steps import BulkSteps
from orchestrator.store.campaign_house import CampaignHouse
from orchestrator.store.campaign_rows import CampaignRows
from orchestrator.store.campaign_search import CampaignSearch
from orchestrator.store.campaigns import Campaigns
from orchestrator.store.changes import Changes
from orchestrator.store.claiming import Claims
from orchestrator.store.clusters import Clusters
from orchestrator.store.connecting import LOOPS, Patience
from orchestrator.store.dead_letters import DeadLetters
from orchestrator.store.deliveries import Deliveries
from orchestrator.store.delivery_log import DeliveryLog
from orchestrator.store.endpoints import Endpoints
from orchestrator.store.engine import Database
from orchestrator.store.erased_objects import ErasedObjects
from orchestrator.store.erasures import Erasures
from orchestrator.store.files import Files
from orchestrator.store.fleet import Fleets
from orchestrator.store.flow import Flow
from orchestrator.store.forecasts import Forecasts
from orchestrator.store.housekeeping import Housekeeping
from orchestrator.store.inputs import Inputs
from orchestrator.store.job_search import JobSearch
from orchestrator.store.jobs import Jobs
from orchestrator.store.keys import Keys
from orchestrator.store.ledger import Ledger
from orchestrator.store.loads import Loads
from orchestrator.store.masters import Masters
from orchestrator.store.notes import Notes
from orchestrator.store.orders import WorkerOrders
from orchestrator.store.overview import Overview
from orchestrator.store.parked import ParkedThings
from orchestrator.store.pauses import Pauses
from orchestrator.store.predictions import PredictionRows
from orchestrator.store.quarantines import Quarantines
from orchestrator.store.quotas import Quotas
from orchestrator.store.review_sheets import ReviewSheets
from orchestrator.store.reviews import Reviews
from orchestrator.store.rivals import Rivals
from orchestrator.store.row_ends import RowEnds
from orchestrator.store.sessions import Sessions
from orchestrator.store.settle import Settlements
from orchestrator.store.shares import Shares
from orchestrator.store.spending import Budgets
from orchestrator.store.submissions import Submissions
from orchestrator.store.tenants import Tenants
from orchestrator.store.turns import Turns
from orchestrator.store.wakeups import Notifier, hears, listen
from orchestrator.store.window import Windows
from orchestrator.store.worker_time import WorkerTime
from orchestrator.store.workers import WorkerRows


class Store(
    Jobs, Turns, Claims, Settlements, WorkerRows, Housekeeping, Tenants, Keys, Files, Inputs, Endpoints,
    Deliveries, DeliveryLog, Batches, Campaigns, Changes, CampaignRows, Windows, RowEnds, Rivals, Budgets,
    CampaignHouse, Ledger, Loads, Pauses, ParkedThings, WorkerTime, PredictionRows, Shares, Forecasts, Fleets,
    Clusters, Masters, Quotas, WorkerOrders, DeadLetters, JobSearch, BulkActions, BulkSteps, Notes, Audit, AuditLog,
    AuditSealing, Erasures, ErasedObjects, Sessions, Overview, Flow, Quarantines, Reviews, ReviewSheets, CampaignSearch,
):  # fmt: skip
    """Jobs, keys, inputs, files, batches, campaigns, webhooks, as the ports ask. One per process and event loop."""

    def __init__(
        self,
        database: str | Access,
        *,
        connections: int = 10,
        limits: Limits = NO_LIMITS,
        patience: Patience = LOOPS,
    ) -> None:
        self._access = Access.to(database)
        self._defaults = limits
        self._database = Database(self._access, connections=connections, patience=patience)
        self._notifier = Notifier(self._database)
        self._submissions = Submissions(self._database, self._notifier, limits)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        database: str | Access,
        *,
        connections: int = 10,
        limits: Limits = NO_LIMITS,
        patience: Patience = LOOPS,
    ) -> AsyncIterator[Self]:
        """A store that closes at the block's end. Opening does not connect: the database may come up later.

        `limits` hold for the tenants that have none of their own; whoever has callers that wait is less patient.
        """
        store = cls(database, connections=connections, limits=limits, patience=patience)
        try:
            yield store
        finally:
            await store.close()

    async def close(self) -> None:
        """Land what was submitted, then close the connections."""
        await self._submissions.close()
        await self._notifier.close()
        await self._database.close()

    async def hears(self, *, within_s: float) -> bool:
        """Whether a notification sent to the database arrives where dispatchers listen. Raises `StoreUnavailable`."""
        return await hears(lambda: self._access.direct, self._database, within_s=within_s)

    def wakeups(self) -> AbstractAsyncContextManager[Wakeups]:
        return listen(lambda: self._access.direct)
