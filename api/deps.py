"""What every route needs: the services that the lifespan opened, and the tenant behind a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request

from api.downloads import DEADLINE_S, Downloads
from api.readiness import Readiness
from orchestrator.adapters.s3 import S3Objects
from orchestrator.batches.requests import Batches
from orchestrator.config import S3Settings, Settings
from orchestrator.feed import Feed
from orchestrator.files import Files
from orchestrator.frontdoor import FrontdoorStore, open_jobs
from orchestrator.keys import Keyring
from orchestrator.limits import RequestRates, TenantLimits
from orchestrator.ports import KeyStore, ObjectStore, WebhookStore
from orchestrator.ports.batches import BatchStore
from orchestrator.store import Store
from orchestrator.submit import Jobs
from orchestrator.webhooks.subscriptions import Subscriptions

# Connections that one process keeps open for watchers of videos, and how many of them one tenant may hold.
_WATCHERS = 1_000
_WATCHERS_OF_TENANT = 200


class ApiStore(FrontdoorStore, BatchStore, KeyStore, WebhookStore, Protocol):
    """What the API asks of the store."""


@dataclass(frozen=True, slots=True)
class Services:
    """The open parts of one API process."""

    settings: Settings
    store: ApiStore
    objects: ObjectStore
    downloads: Downloads
    jobs: Jobs
    files: Files
    batches: Batches
    webhooks: Subscriptions
    feed: Feed
    keyring: Keyring
    rates: RequestRates
    readiness: Readiness

    @classmethod
    def of(cls, settings: Settings, store: ApiStore, objects: ObjectStore) -> Services:
        keyring = Keyring(store, settings.master_key.get_secret_value(), cache_s=settings.api.key_cache_s)
        rates = RequestRates(TenantLimits(store, cache_s=settings.api.key_cache_s), settings.limits.storage)
        readiness = Readiness(settings.database_url, store)
        jobs = open_jobs(settings, store, objects)
        files = Files(settings, store, objects)
        batches = Batches(store, files)
        webhooks = Subscriptions(settings, store)
        feed = Feed(store, watchers=_WATCHERS, watchers_of_tenant=_WATCHERS_OF_TENANT)
        downloads = Downloads(objects)
        return cls(settings, store, objects, downloads, jobs, files, batches, webhooks, feed, keyring, rates, readiness)


Connect = Callable[[Settings], AbstractAsyncContextManager[Services]]


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Services]:
    """The real services, open for as long as the context lasts."""
    async with Store.open(settings.database_url, limits=settings.limits.defaults) as store:
        yield Services.of(settings, store, S3Objects(_for_callers(settings.s3)))


def _for_callers(s3: S3Settings) -> S3Settings:
    """Less patient than what workers need: a thread whose caller has its 503 already must soon be free again."""
    return s3.model_copy(
        update={"read_timeout_s": min(s3.read_timeout_s, DEADLINE_S), "max_attempts": min(s3.max_attempts, 2)}
    )


def services(request: Request) -> Services:
    opened: Services = request.app.state.services
    return opened


async def _tenant(request: Request) -> str:
    opened = services(request)
    tenant = await opened.keyring.tenant(request.headers.get("authorization"))
    await opened.rates.admit(tenant)
    return tenant


# The tenant of the request's key, found before anything else of the request is read. Every route that asks for it
# counts as one of the tenant's requests per second.
Tenant = Annotated[str, Depends(_tenant)]
