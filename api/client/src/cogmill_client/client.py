"""`Cogmill` and `AsyncCogmill`: the same surface, blocking and to await."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import httpx

from cogmill_client import many, signing
from cogmill_client.binding import AsyncDoes, AsyncGives, AsyncResource, Does, Gives, Resource
from cogmill_client.drivers import AsyncDriver, Driver
from cogmill_client.many import Downloaded
from cogmill_client.models.webhooks import WebhookEvent
from cogmill_client.procedures import (
    account,
    admin_fleet,
    admin_tenants,
    admin_trail,
    admin_usage,
    campaigns,
    files,
    jobs,
    keys,
    overviews,
    reviews,
    videos,
)
from cogmill_client.procedures import rows as row_steps
from cogmill_client.settings import MAX_RETRIES, TIMEOUT_S, Settings, resolve

# Nothing that goes to this machine itself goes through a proxy.
_DIRECT = ("all://localhost", "all://127.0.0.1", "all://[::1]")


class Videos(Resource):
    create = Does(videos.create)
    quote = Does(videos.quote)
    retrieve = Does(videos.retrieve)
    list = Gives(videos.list_)
    cancel = Does(videos.cancel)
    delete = Does(videos.delete)
    retry = Does(videos.retry)
    remix = Does(videos.remix)
    wait = Does(videos.wait)
    events = Gives(videos.events)
    download = Does(videos.download)


class Jobs(Resource):
    list = Gives(jobs.list_)
    counts = Does(jobs.counts)
    retrieve = Does(jobs.retrieve)
    deliveries = Does(jobs.deliveries)
    trace = Does(jobs.trace)
    act = Does(jobs.act)
    expected = Does(jobs.expected)
    actions = Gives(jobs.actions)
    action = Does(jobs.action)
    call_off = Does(jobs.call_off)
    notes = Gives(jobs.notes)
    write_note = Does(jobs.write_note)
    delete_note = Does(jobs.delete_note)
    saved_filters = Does(jobs.saved_filters)
    save_filter = Does(jobs.save_filter)
    drop_filter = Does(jobs.drop_filter)


class Files(Resource):
    upload = Does(files.upload)
    retrieve = Does(files.retrieve)
    list = Gives(files.list_)
    download = Does(files.download)
    delete = Does(files.delete)


class Campaigns(Resource):
    create = Does(campaigns.create)
    retrieve = Does(campaigns.retrieve)
    list = Gives(campaigns.list_)
    delete = Does(campaigns.delete)
    patch = Does(campaigns.patch)
    upload_input = Does(row_steps.upload_input)
    presign_upload = Does(row_steps.presign_upload)
    upload_to = Does(row_steps.upload_to)
    ingest = Does(row_steps.ingest)
    plan = Does(campaigns.plan)
    approve = Does(campaigns.approve)
    reject = Does(campaigns.reject)
    pause = Does(campaigns.pause)
    resume = Does(campaigns.resume)
    cancel = Does(campaigns.cancel)
    retry = Does(campaigns.retry)
    waive = Does(campaigns.waive)
    promote = Does(campaigns.promote)
    rows = Gives(row_steps.rows)
    errors = Gives(row_steps.errors)
    links = Gives(row_steps.links)
    manifest = Does(row_steps.manifest)
    signature = Does(row_steps.signature)
    progress = Does(reviews.progress)
    failures = Does(reviews.failures)
    events = Gives(campaigns.events)
    wait = Does(campaigns.wait)


class Reviews(Resource):
    list = Gives(reviews.list_)
    retrieve = Does(reviews.retrieve)
    decide = Does(reviews.decide)
    undo = Does(reviews.undo)
    render_again = Does(reviews.render_again)
    sheet = Gives(reviews.sheet)
    hold = Does(reviews.hold)
    release = Does(reviews.release)
    counts = Does(reviews.counts)
    apply = Does(reviews.apply)
    promote = Does(reviews.promote)
    export = Does(reviews.export)


class Webhooks(Resource):
    secret = Does(account.secret)
    create_endpoint = Does(account.create_endpoint)
    list_endpoints = Gives(account.list_endpoints)
    delete_endpoint = Does(account.delete_endpoint)

    @staticmethod
    def verify(payload: bytes | str, headers: Mapping[str, str], secret: str) -> WebhookEvent:
        """The event of a delivery. Raises `InvalidSignature`."""
        return signing.verify(payload, headers, secret)


class Keys(Resource):
    create = Does(keys.create)
    retrieve = Does(keys.retrieve)
    list = Gives(keys.list_)
    rotate = Does(keys.rotate)
    revoke = Does(keys.revoke)


class Admin(Resource):
    """What concerns every tenant; needs a key with an administrator's role."""

    tenants = Gives(admin_tenants.tenants)
    tenant = Does(admin_tenants.tenant)
    put_tenant = Does(admin_tenants.put_tenant)
    change_tenant = Does(admin_tenants.change_tenant)
    limits = Does(admin_tenants.limits)
    shares = Does(admin_tenants.shares)
    set_share = Does(admin_tenants.set_share)
    budgets = Does(admin_tenants.budgets)
    set_budget = Does(admin_tenants.set_budget)
    lift_budget = Does(admin_tenants.lift_budget)
    keys = Gives(admin_tenants.keys)
    create_key = Does(admin_tenants.create_key)
    key = Does(admin_tenants.key)
    rotate_key = Does(admin_tenants.rotate_key)
    revoke_key = Does(admin_tenants.revoke_key)
    pools = Does(admin_fleet.pools)
    pause_pool = Does(admin_fleet.pause_pool)
    resume_pool = Does(admin_fleet.resume_pool)
    pause_queue = Does(admin_fleet.pause_queue)
    resume_queue = Does(admin_fleet.resume_queue)
    fleet = Does(admin_fleet.fleet)
    predictions = Does(admin_fleet.predictions)
    workers = Gives(admin_fleet.workers)
    worker = Does(admin_fleet.worker)
    drain_worker = Does(admin_fleet.drain_worker)
    replace_worker = Does(admin_fleet.replace_worker)
    resume_worker = Does(admin_fleet.resume_worker)
    jobs = Gives(admin_fleet.jobs)
    job = Does(admin_fleet.job)
    job_counts = Does(admin_fleet.job_counts)
    campaigns = Gives(admin_fleet.campaigns)
    campaign = Does(admin_fleet.campaign)
    act = Does(admin_fleet.act)
    expected = Does(admin_fleet.expected)
    bulk_actions = Gives(admin_fleet.bulk_actions)
    bulk_action = Does(admin_fleet.bulk_action)
    call_off = Does(admin_fleet.call_off)
    job_trace = Does(admin_fleet.job_trace)
    cancel_job = Does(admin_fleet.cancel_job)
    retry_job = Does(admin_fleet.retry_job)
    dead_letters = Gives(admin_fleet.dead_letters)
    release = Does(admin_fleet.release)
    forget = Does(admin_fleet.forget)
    parked = Does(admin_fleet.parked)
    resume_parked = Does(admin_fleet.resume_parked)
    usage = Does(admin_usage.usage)
    usage_csv = Does(admin_usage.usage_csv)
    worker_usage = Does(admin_usage.worker_usage)
    worker_usage_csv = Does(admin_usage.worker_usage_csv)
    waste = Does(admin_usage.waste)
    waste_csv = Does(admin_usage.waste_csv)
    audit = Gives(admin_trail.audit)
    erase_tenant = Does(admin_trail.erase_tenant)
    erasures = Gives(admin_trail.erasures)
    erasure = Does(admin_trail.erasure)
    receipt = Does(admin_trail.receipt)
    overview = Does(overviews.overview_of_all)
    overview_history = Does(overviews.history_of_all)
    quarantines = Does(overviews.quarantines)


class Account(Resource):
    usage = Does(account.usage)
    usage_csv = Does(account.usage_csv)
    worker_usage = Does(account.worker_usage)
    fleet = Does(account.fleet)
    worker_usage_csv = Does(account.worker_usage_csv)
    waste = Does(account.waste)
    waste_csv = Does(account.waste_csv)
    jwks = Does(account.jwks)
    overview = Does(overviews.overview)
    overview_history = Does(overviews.overview_history)


class AsyncVideos(AsyncResource):
    create = AsyncDoes(videos.create)
    quote = AsyncDoes(videos.quote)
    retrieve = AsyncDoes(videos.retrieve)
    list = AsyncGives(videos.list_)
    cancel = AsyncDoes(videos.cancel)
    delete = AsyncDoes(videos.delete)
    retry = AsyncDoes(videos.retry)
    remix = AsyncDoes(videos.remix)
    wait = AsyncDoes(videos.wait)
    events = AsyncGives(videos.events)
    download = AsyncDoes(videos.download)


class AsyncJobs(AsyncResource):
    list = AsyncGives(jobs.list_)
    counts = AsyncDoes(jobs.counts)
    retrieve = AsyncDoes(jobs.retrieve)
    deliveries = AsyncDoes(jobs.deliveries)
    trace = AsyncDoes(jobs.trace)
    act = AsyncDoes(jobs.act)
    expected = AsyncDoes(jobs.expected)
    actions = AsyncGives(jobs.actions)
    action = AsyncDoes(jobs.action)
    call_off = AsyncDoes(jobs.call_off)
    notes = AsyncGives(jobs.notes)
    write_note = AsyncDoes(jobs.write_note)
    delete_note = AsyncDoes(jobs.delete_note)
    saved_filters = AsyncDoes(jobs.saved_filters)
    save_filter = AsyncDoes(jobs.save_filter)
    drop_filter = AsyncDoes(jobs.drop_filter)


class AsyncFiles(AsyncResource):
    upload = AsyncDoes(files.upload)
    retrieve = AsyncDoes(files.retrieve)
    list = AsyncGives(files.list_)
    download = AsyncDoes(files.download)
    delete = AsyncDoes(files.delete)


class AsyncCampaigns(AsyncResource):
    create = AsyncDoes(campaigns.create)
    retrieve = AsyncDoes(campaigns.retrieve)
    list = AsyncGives(campaigns.list_)
    delete = AsyncDoes(campaigns.delete)
    patch = AsyncDoes(campaigns.patch)
    upload_input = AsyncDoes(row_steps.upload_input)
    presign_upload = AsyncDoes(row_steps.presign_upload)
    upload_to = AsyncDoes(row_steps.upload_to)
    ingest = AsyncDoes(row_steps.ingest)
    plan = AsyncDoes(campaigns.plan)
    approve = AsyncDoes(campaigns.approve)
    reject = AsyncDoes(campaigns.reject)
    pause = AsyncDoes(campaigns.pause)
    resume = AsyncDoes(campaigns.resume)
    cancel = AsyncDoes(campaigns.cancel)
    retry = AsyncDoes(campaigns.retry)
    waive = AsyncDoes(campaigns.waive)
    promote = AsyncDoes(campaigns.promote)
    rows = AsyncGives(row_steps.rows)
    errors = AsyncGives(row_steps.errors)
    links = AsyncGives(row_steps.links)
    manifest = AsyncDoes(row_steps.manifest)
    signature = AsyncDoes(row_steps.signature)
    progress = AsyncDoes(reviews.progress)
    failures = AsyncDoes(reviews.failures)
    events = AsyncGives(campaigns.events)
    wait = AsyncDoes(campaigns.wait)


class AsyncReviews(AsyncResource):
    list = AsyncGives(reviews.list_)
    retrieve = AsyncDoes(reviews.retrieve)
    decide = AsyncDoes(reviews.decide)
    undo = AsyncDoes(reviews.undo)
    render_again = AsyncDoes(reviews.render_again)
    sheet = AsyncGives(reviews.sheet)
    hold = AsyncDoes(reviews.hold)
    release = AsyncDoes(reviews.release)
    counts = AsyncDoes(reviews.counts)
    apply = AsyncDoes(reviews.apply)
    promote = AsyncDoes(reviews.promote)
    export = AsyncDoes(reviews.export)


class AsyncWebhooks(AsyncResource):
    secret = AsyncDoes(account.secret)
    create_endpoint = AsyncDoes(account.create_endpoint)
    list_endpoints = AsyncGives(account.list_endpoints)
    delete_endpoint = AsyncDoes(account.delete_endpoint)
    verify = staticmethod(signing.verify)


class AsyncKeys(AsyncResource):
    create = AsyncDoes(keys.create)
    retrieve = AsyncDoes(keys.retrieve)
    list = AsyncGives(keys.list_)
    rotate = AsyncDoes(keys.rotate)
    revoke = AsyncDoes(keys.revoke)


class AsyncAdmin(AsyncResource):
    """As `Admin`."""

    tenants = AsyncGives(admin_tenants.tenants)
    tenant = AsyncDoes(admin_tenants.tenant)
    put_tenant = AsyncDoes(admin_tenants.put_tenant)
    change_tenant = AsyncDoes(admin_tenants.change_tenant)
    limits = AsyncDoes(admin_tenants.limits)
    shares = AsyncDoes(admin_tenants.shares)
    set_share = AsyncDoes(admin_tenants.set_share)
    budgets = AsyncDoes(admin_tenants.budgets)
    set_budget = AsyncDoes(admin_tenants.set_budget)
    lift_budget = AsyncDoes(admin_tenants.lift_budget)
    keys = AsyncGives(admin_tenants.keys)
    create_key = AsyncDoes(admin_tenants.create_key)
    key = AsyncDoes(admin_tenants.key)
    rotate_key = AsyncDoes(admin_tenants.rotate_key)
    revoke_key = AsyncDoes(admin_tenants.revoke_key)
    pools = AsyncDoes(admin_fleet.pools)
    pause_pool = AsyncDoes(admin_fleet.pause_pool)
    resume_pool = AsyncDoes(admin_fleet.resume_pool)
    pause_queue = AsyncDoes(admin_fleet.pause_queue)
    resume_queue = AsyncDoes(admin_fleet.resume_queue)
    fleet = AsyncDoes(admin_fleet.fleet)
    predictions = AsyncDoes(admin_fleet.predictions)
    workers = AsyncGives(admin_fleet.workers)
    worker = AsyncDoes(admin_fleet.worker)
    drain_worker = AsyncDoes(admin_fleet.drain_worker)
    replace_worker = AsyncDoes(admin_fleet.replace_worker)
    resume_worker = AsyncDoes(admin_fleet.resume_worker)
    jobs = AsyncGives(admin_fleet.jobs)
    job = AsyncDoes(admin_fleet.job)
    job_counts = AsyncDoes(admin_fleet.job_counts)
    campaigns = AsyncGives(admin_fleet.campaigns)
    campaign = AsyncDoes(admin_fleet.campaign)
    act = AsyncDoes(admin_fleet.act)
    expected = AsyncDoes(admin_fleet.expected)
    bulk_actions = AsyncGives(admin_fleet.bulk_actions)
    bulk_action = AsyncDoes(admin_fleet.bulk_action)
    call_off = AsyncDoes(admin_fleet.call_off)
    job_trace = AsyncDoes(admin_fleet.job_trace)
    cancel_job = AsyncDoes(admin_fleet.cancel_job)
    retry_job = AsyncDoes(admin_fleet.retry_job)
    dead_letters = AsyncGives(admin_fleet.dead_letters)
    release = AsyncDoes(admin_fleet.release)
    forget = AsyncDoes(admin_fleet.forget)
    parked = AsyncDoes(admin_fleet.parked)
    resume_parked = AsyncDoes(admin_fleet.resume_parked)
    usage = AsyncDoes(admin_usage.usage)
    usage_csv = AsyncDoes(admin_usage.usage_csv)
    worker_usage = AsyncDoes(admin_usage.worker_usage)
    worker_usage_csv = AsyncDoes(admin_usage.worker_usage_csv)
    waste = AsyncDoes(admin_usage.waste)
    waste_csv = AsyncDoes(admin_usage.waste_csv)
    audit = AsyncGives(admin_trail.audit)
    erase_tenant = AsyncDoes(admin_trail.erase_tenant)
    erasures = AsyncGives(admin_trail.erasures)
    erasure = AsyncDoes(admin_trail.erasure)
    receipt = AsyncDoes(admin_trail.receipt)
    overview = AsyncDoes(overviews.overview_of_all)
    overview_history = AsyncDoes(overviews.history_of_all)
    quarantines = AsyncDoes(overviews.quarantines)


class AsyncAccount(AsyncResource):
    usage = AsyncDoes(account.usage)
    usage_csv = AsyncDoes(account.usage_csv)
    worker_usage = AsyncDoes(account.worker_usage)
    fleet = AsyncDoes(account.fleet)
    worker_usage_csv = AsyncDoes(account.worker_usage_csv)
    waste = AsyncDoes(account.waste)
    waste_csv = AsyncDoes(account.waste_csv)
    jwks = AsyncDoes(account.jwks)
    overview = AsyncDoes(overviews.overview)
    overview_history = AsyncDoes(overviews.overview_history)


class Cogmill:
    """A client that blocks; one may be shared by threads. Close it, or use it in a `with` block.

    Raises `ConfigurationError` where it cannot tell which API to talk to: see `cogmill_client.settings.resolve`.
    `timeout` is in seconds without an answer. `http_client` replaces the client's own connections.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        profile: str | None = None,
        *,
        timeout: float = TIMEOUT_S,
        max_retries: int = MAX_RETRIES,
        http_client: httpx.Client | None = None,
    ) -> None:
        self.settings = _settings(api_key, base_url, profile, timeout, max_retries)
        self._driver = Driver(http_client or httpx.Client(mounts=dict.fromkeys(_DIRECT)), self.settings)
        self.videos = Videos(self._driver)
        self.jobs = Jobs(self._driver)
        self.files = Files(self._driver)
        self.campaigns = Campaigns(self._driver)
        self.reviews = Reviews(self._driver)
        self.webhooks = Webhooks(self._driver)
        self.keys = Keys(self._driver)
        self.admin = Admin(self._driver)
        own = Account(self._driver)
        self.usage, self.usage_csv, self.worker_usage = own.usage, own.usage_csv, own.worker_usage
        self.worker_usage_csv = own.worker_usage_csv
        self.waste, self.waste_csv, self.fleet, self.jwks = own.waste, own.waste_csv, own.fleet, own.jwks
        self.overview, self.overview_history = own.overview, own.overview_history

    def download_campaign(
        self,
        campaign_id: str,
        directory: str | os.PathLike[str],
        *,
        pattern: str = "{custom_id}.mp4",
        workers: int = 8,
        on_file: Callable[[str, Path], object] | None = None,
    ) -> Downloaded:
        """Save the video of each row that has one, `workers` at once, below `directory`.

        Ids that are no safe names of files get one. A file that is there already, with the right SHA-256, is left
        alone, so that a call which was interrupted may simply be made again. `on_file` hears of each that is there.
        """
        return many.download(
            self._driver, campaign_id, Path(directory), pattern=pattern, workers=workers, on_file=on_file
        )

    def close(self) -> None:
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncCogmill:
    """The same on an event loop: methods are awaited, listings and events are for `async for`."""

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        profile: str | None = None,
        *,
        timeout: float = TIMEOUT_S,
        max_retries: int = MAX_RETRIES,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self.settings = _settings(api_key, base_url, profile, timeout, max_retries)
        self._driver = AsyncDriver(http_client or httpx.AsyncClient(mounts=dict.fromkeys(_DIRECT)), self.settings)
        self.videos = AsyncVideos(self._driver)
        self.jobs = AsyncJobs(self._driver)
        self.files = AsyncFiles(self._driver)
        self.campaigns = AsyncCampaigns(self._driver)
        self.reviews = AsyncReviews(self._driver)
        self.webhooks = AsyncWebhooks(self._driver)
        self.keys = AsyncKeys(self._driver)
        self.admin = AsyncAdmin(self._driver)
        own = AsyncAccount(self._driver)
        self.usage, self.usage_csv, self.worker_usage = own.usage, own.usage_csv, own.worker_usage
        self.worker_usage_csv = own.worker_usage_csv
        self.waste, self.waste_csv, self.fleet, self.jwks = own.waste, own.waste_csv, own.fleet, own.jwks
        self.overview, self.overview_history = own.overview, own.overview_history

    async def download_campaign(
        self,
        campaign_id: str,
        directory: str | os.PathLike[str],
        *,
        pattern: str = "{custom_id}.mp4",
        workers: int = 8,
        on_file: Callable[[str, Path], object] | None = None,
    ) -> Downloaded:
        """As `Cogmill.download_campaign`."""
        return await many.download_async(
            self._driver, campaign_id, Path(directory), pattern=pattern, workers=workers, on_file=on_file
        )

    async def close(self) -> None:
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _settings(
    api_key: str | None, base_url: str | None, profile: str | None, timeout: float, max_retries: int
) -> Settings:
    return resolve(api_key=api_key, base_url=base_url, profile=profile, timeout_s=timeout, max_retries=max_retries)
