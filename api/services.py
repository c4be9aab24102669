"""The open parts of one API process: what the lifespan opens and every route works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from api.openai.lines import OpenAILines
from api.readiness import Readiness
from api.wire.downloads import DEADLINE_S, Downloads
from orchestrator.adapters.issuers import fetch_of
from orchestrator.adapters.s3 import S3Objects
from orchestrator.batches.batches import Batches
from orchestrator.campaigns.campaigns import Campaigns
from orchestrator.campaigns.inputs import Inputs
from orchestrator.campaigns.quoting import Quoting, Repricing
from orchestrator.campaigns.requests import Requests
from orchestrator.capacity.fleets import FleetReader, Fleets
from orchestrator.capacity.forecasting import Admission, Forecasts
from orchestrator.capacity.pools import Pools
from orchestrator.config import ApiSettings, S3Settings, Settings
from orchestrator.intake.files import Files
from orchestrator.intake.jobs import Jobs
from orchestrator.intake.waiting import Waiting
from orchestrator.learning.book import Book
from orchestrator.learning.listing import Listing
from orchestrator.notify.campaign_feed import CampaignFeed
from orchestrator.notify.feed import Feed
from orchestrator.notify.subscriptions import Subscriptions
from orchestrator.ports import KeyStore, ObjectStore, WebhookStore
from orchestrator.ports.batches import BatchStore
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.ports.forecasts import ForecastStore
from orchestrator.ports.ledger import LedgerStore
from orchestrator.processes.frontdoor import FrontdoorStore, open_front_door
from orchestrator.store import CALLERS, Store
from orchestrator.tenants.issuing import Issuing
from orchestrator.tenants.keyring import Keyring
from orchestrator.tenants.ledger import Reports
from orchestrator.tenants.oidc import People
from orchestrator.tenants.rates import RequestRates
from orchestrator.tenants.room import Room
from orchestrator.tenants.turns import Turns
from orchestrator.tenants.uses import Uses

# Connections that one process keeps open for watchers of videos; and of campaigns, each of which is read by itself.
# One tenant alone may hold a fifth (`orchestrator/notify/watching.py`).
_WATCHERS = 1_000
_CAMPAIGN_WATCHERS = 250

# How long a large body waits for room in memory, and one too many of its tenant for its turn, before it is refused.
TURN_S = 20.0

# Of one tenant: requests with more in their body than `api.max_body_bytes`, which are kept in memory (pictures) or on
# the disk (files) until they are answered.
_LARGE_BODIES = 16
_UPLOADS = 8


class ApiStore(
    FrontdoorStore, BatchStore, CampaignStore, ForecastStore, LedgerStore, FleetReader, KeyStore, WebhookStore, Protocol
):
    """What the API asks of the store."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What all callers of one process share."""

    requests: Room
    # In memory. What is on its way to the disk counts until it is there.
    bodies: Room
    downloads: Room

    @classmethod
    def of(cls, api: ApiSettings) -> Rooms:
        return cls(
            requests=Room(
                "requests_in_flight", most=api.max_requests_in_flight, of_tenant=api.max_requests_in_flight_per_tenant
            ),
            bodies=Room("body_bytes", most=api.max_bodies_bytes, of_tenant=api.max_bodies_bytes_per_tenant),
            downloads=Room("downloads", most=api.max_downloads, of_tenant=api.max_downloads_per_tenant),
        )


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
    campaigns: Campaigns
    webhooks: Subscriptions
    feed: Feed
    campaign_feed: CampaignFeed
    waiting: Waiting
    book: Book
    forecasts: Forecasts
    pools: Pools
    fleets: Fleets
    reports: Reports
    predictions: Listing
    keyring: Keyring
    uses: Uses
    keys: Issuing
    rates: RequestRates
    readiness: Readiness
    rooms: Rooms
    large_bodies: Turns
    uploads: Turns

    @classmethod
    def of(cls, settings: Settings, store: ApiStore, objects: ObjectStore) -> Services:
        master_key, uses = settings.needed_master_key, Uses(store)
        people = People(settings.oidc, store, fetch_of, cache_s=settings.api.key_cache_s)
        keyring = Keyring(store, master_key, cache_s=settings.api.key_cache_s, used=uses.note, people=people)
        door = open_front_door(settings, store, objects)
        rates = RequestRates(door.limits, settings.limits.storage)
        readiness = Readiness(settings.database, store)
        batches = Batches(store, door.files, door.limits, priority=settings.batches.priority)
        webhooks = Subscriptions(settings, store)
        feed, campaign_feed = Feed(store, watchers=_WATCHERS), CampaignFeed(store, watchers=_CAMPAIGN_WATCHERS)
        inputs, requests = Inputs(settings, objects, door.files), Requests(settings, OpenAILines(settings))
        quoting, repricing = Quoting(settings, store, requests, door.book), Repricing(store, requests)
        downloads = Downloads(objects)
        return cls(
            settings,
            store,
            objects,
            downloads,
            door.jobs,
            door.files,
            batches,
            Campaigns(settings, store, inputs, quoting, repricing, Admission(settings, store, door.book), door.limits),
            webhooks,
            feed,
            campaign_feed,
            door.waiting,
            door.book,
            Forecasts(store),
            Pools(settings, store),
            Fleets(settings, store),
            Reports(store, settings.worker_prices),
            Listing(settings, store),
            keyring,
            uses,
            Issuing(store, master_key, changed=keyring.forget),
            rates,
            readiness,
            rooms=Rooms.of(settings.api),
            large_bodies=Turns(_LARGE_BODIES, wait_s=TURN_S),
            uploads=Turns(_UPLOADS, wait_s=TURN_S),
        )


Connect = Callable[[Settings], AbstractAsyncContextManager[Services]]


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Services]:
    """The real services, open for as long as the context lasts."""
    async with Store.open(settings.database, limits=settings.limits.defaults, patience=CALLERS) as store:
        yield Services.of(settings, store, S3Objects(_for_callers(settings.s3), settings.s3_files))


def _for_callers(s3: S3Settings) -> S3Settings:
    """Less patient than what workers need: a thread whose caller has its 503 already must soon be free again."""
    return s3.model_copy(
        update={"read_timeout_s": min(s3.read_timeout_s, DEADLINE_S), "max_attempts": min(s3.max_attempts, 2)}
    )
