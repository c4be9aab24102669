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
from orchestrator.adapters.providers import provider_of
from orchestrator.adapters.s3 import S3Objects
from orchestrator.audit.refusals import Refusals
from orchestrator.batches.batches import Batches
from orchestrator.campaigns.any_campaigns import AnyCampaigns
from orchestrator.campaigns.campaigns import Campaigns
from orchestrator.campaigns.inputs import Inputs
from orchestrator.campaigns.quoting import Quoting, Repricing
from orchestrator.campaigns.requests import Requests
from orchestrator.campaigns.reviewing import Reviewing
from orchestrator.capacity.facts import FactReader
from orchestrator.capacity.fleets import FleetReader, Fleets
from orchestrator.capacity.forecasting import Admission, Forecasts
from orchestrator.capacity.overviews import Overviews
from orchestrator.capacity.pools import Pools
from orchestrator.capacity.workers import WorkerList
from orchestrator.config import ApiSettings, S3Settings, Settings
from orchestrator.domain.masters import Masters
from orchestrator.intake.any_jobs import AnyJobs
from orchestrator.intake.bulk import Bulks
from orchestrator.intake.files import Files
from orchestrator.intake.job_search import JobSearch
from orchestrator.intake.jobs import Jobs
from orchestrator.intake.lives import Lives
from orchestrator.intake.notes import Notes
from orchestrator.intake.waiting import Waiting
from orchestrator.learning.book import Book
from orchestrator.learning.listing import Listing
from orchestrator.notify.campaign_feed import CampaignFeed
from orchestrator.notify.feed import Feed
from orchestrator.notify.subscriptions import Subscriptions
from orchestrator.ports import KeyStore, ObjectStore, WebhookStore
from orchestrator.ports.any_jobs import AnyJobStore
from orchestrator.ports.audit import AuditTrail
from orchestrator.ports.batches import BatchStore
from orchestrator.ports.bulk import BulkStore
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.ports.forecasts import ForecastStore
from orchestrator.ports.job_search import JobSearchStore
from orchestrator.ports.ledger import LedgerStore
from orchestrator.ports.notes import NoteStore
from orchestrator.ports.orders import WorkerAdmin
from orchestrator.ports.parked import ParkedStore
from orchestrator.ports.reviews import ReviewStore
from orchestrator.ports.sessions import SessionStore
from orchestrator.processes.frontdoor import FrontDoor, FrontdoorStore, open_front_door
from orchestrator.store import CALLERS, Store
from orchestrator.tenants.administering import Tenants
from orchestrator.tenants.erasing import AskedStore, Erasing
from orchestrator.tenants.issuing import Issuing
from orchestrator.tenants.issuing_for_all import IssuingForAll
from orchestrator.tenants.keyring import Keyring
from orchestrator.tenants.ledger import Reports
from orchestrator.tenants.masters import MasterFiles
from orchestrator.tenants.oidc import People
from orchestrator.tenants.rates import RequestRates, TenantLimits
from orchestrator.tenants.room import Room
from orchestrator.tenants.sessions import Sessions
from orchestrator.tenants.signing_in import SigningIn
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


class AdminStore(AnyJobStore, WorkerAdmin, ParkedStore, Protocol):
    """What administrators ask of the store, beside what everybody does."""


class ApiStore(
    FrontdoorStore, BatchStore, CampaignStore, ForecastStore, LedgerStore, FleetReader, KeyStore, WebhookStore,
    AdminStore, AuditTrail, AskedStore, JobSearchStore, BulkStore, NoteStore, SessionStore, FactReader, ReviewStore,
    Protocol,
):  # fmt: skip
    """What the API asks of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """What concerns every tenant."""

    tenants: Tenants
    keys: IssuingForAll
    workers: WorkerList
    jobs: AnyJobs
    campaigns: AnyCampaigns
    parked: ParkedStore


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The open parts of one API process."""

    settings: Settings
    store: ApiStore
    objects: ObjectStore
    downloads: Downloads
    jobs: Jobs
    search: JobSearch
    lives: Lives
    bulks: Bulks
    notes: Notes
    files: Files
    batches: Batches
    campaigns: Campaigns
    reviewing: Reviewing
    webhooks: Subscriptions
    feed: Feed
    campaign_feed: CampaignFeed
    waiting: Waiting
    book: Book
    forecasts: Forecasts
    pools: Pools
    fleets: Fleets
    overviews: Overviews
    reports: Reports
    predictions: Listing
    masters: Masters
    keyring: Keyring
    sessions: Sessions
    signing_in: SigningIn
    uses: Uses
    refusals: Refusals
    keys: Issuing
    erasing: Erasing
    rates: RequestRates
    readiness: Readiness
    rooms: Rooms
    large_bodies: Turns
    uploads: Turns
    administration: Administration
    limits: TenantLimits

    @classmethod
    def of(cls, settings: Settings, store: ApiStore, objects: ObjectStore) -> Services:
        door, masters, uses = open_front_door(settings, store, objects), MasterFiles(settings), Uses(store)
        people = People(settings.oidc, store, fetch_of, cache_s=settings.api.key_cache_s)
        campaigns = _campaigns(settings, store, objects, door)
        signing_in = SigningIn(settings.oidc, people, masters, provider_of, url=settings.console.url or "")
        cache_s = settings.api.key_cache_s
        sessions = Sessions(store, masters, people, settings.console, cache_s=cache_s, used=uses.note)
        keyring = Keyring(store, masters, cache_s=cache_s, used=uses.note, people=people, sessions=sessions)
        return cls(
            settings=settings,
            store=store,
            objects=objects,
            downloads=Downloads(objects),
            jobs=door.jobs,
            search=JobSearch(store, door.jobs, door.waiting),
            lives=Lives(store, door.waiting),
            bulks=Bulks(store, door.limits),
            notes=Notes(store),
            files=door.files,
            batches=Batches(store, door.files, door.limits, priority=settings.batches.priority),
            campaigns=campaigns,
            reviewing=Reviewing(settings, store, campaigns, door.jobs),
            webhooks=Subscriptions(settings, store, door.limits, masters=masters),
            feed=Feed(store, watchers=_WATCHERS),
            campaign_feed=CampaignFeed(store, watchers=_CAMPAIGN_WATCHERS),
            waiting=door.waiting,
            book=door.book,
            forecasts=Forecasts(store),
            pools=Pools(settings, store),
            fleets=Fleets(settings, store),
            overviews=Overviews(settings, store),
            reports=Reports(store, settings.worker_prices),
            predictions=Listing(settings, store),
            masters=masters,
            keyring=keyring,
            sessions=sessions,
            signing_in=signing_in,
            uses=uses,
            refusals=Refusals(store),
            keys=Issuing(store, masters, changed=keyring.forget),
            erasing=Erasing(store),
            rates=RequestRates(door.limits, settings.limits.storage),
            readiness=Readiness(settings.database, store),
            rooms=Rooms.of(settings.api),
            large_bodies=Turns(_LARGE_BODIES, wait_s=TURN_S),
            uploads=Turns(_UPLOADS, wait_s=TURN_S),
            administration=Administration(
                tenants=Tenants(settings, store),
                keys=IssuingForAll(store, masters, changed=keyring.forget),
                workers=WorkerList(settings, store),
                jobs=AnyJobs(store, door.jobs),
                campaigns=AnyCampaigns(store),
                parked=store,
            ),
            limits=door.limits,
        )


def _campaigns(settings: Settings, store: ApiStore, objects: ObjectStore, door: FrontDoor) -> Campaigns:
    requests = Requests(settings, OpenAILines(settings))
    return Campaigns(
        settings,
        store,
        Inputs(settings, objects, door.files),
        Quoting(settings, store, requests, door.book),
        Repricing(store, requests),
        Admission(settings, store, door.book),
        door.limits,
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
