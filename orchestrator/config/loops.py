"""The sections of what goes on in loops: leases, retries, webhooks, batches, campaigns, scaling, retention, metrics."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from orchestrator.config.section import Port, Seconds, Section
from orchestrator.domain.campaign import StopRule
from orchestrator.policy.affinity import Swapping, at_once_of
from orchestrator.policy.prediction import KEPT
from orchestrator.policy.trust import ScalingRules
from orchestrator.policy.watchdog import UPLOAD_TRIED_S, Patience

_SWAPPING = Swapping()


class WebhookSettings(Section):
    """How deliveries are tried, and for how long they are kept."""

    # In flight at a time: to one host, over all processes; and in one process.
    per_host: int = Field(default=4, ge=1)
    concurrency: int = Field(default=64, ge=1)
    # Of one try.
    timeout_s: Seconds = 15
    # The pause after the first try that failed, which doubles with each, and the longest one.
    base_s: Seconds = 5
    cap_s: Seconds = 4 * 3600
    # No try after that.
    give_up_s: Seconds = 72 * 3600
    # After a rotation the old secret signs too for so long.
    overlap_s: Seconds = 24 * 3600
    # Deliveries that ended so long ago are pruned.
    keep_s: Seconds = 30 * 24 * 3600
    # As those of `fetch`, which hold where these are None.
    allow_networks: tuple[IPvAnyNetwork, ...] | None = None
    deny_networks: tuple[IPvAnyNetwork, ...] | None = None
    ports: tuple[Port, ...] | None = Field(default=None, min_length=1)


class BatchSettings(Section):
    """How many requests a file may hold, and how they come into the queue."""

    max_lines: int = Field(default=50_000, ge=1)
    # Of any uploaded file.
    max_file_bytes: int = Field(default=200 * 2**20, ge=1024)
    # How many of a batch's jobs are in the queue at a time.
    ahead: int = Field(default=1000, ge=1)
    # Of its jobs, whatever their lines say.
    priority: int = Field(default=20, ge=0, le=100)
    # Of the signed URLs in its output; None is as long as any other (`s3.url_lifetime_s`).
    url_lifetime_s: int | None = Field(default=None, ge=1, le=7 * 24 * 3600)


def _prefix(prefix: str) -> str:
    """Whole folders of the bucket, and never all of it."""
    if not re.fullmatch(r"(?:[A-Za-z0-9!_.*'()-]+|\{tenant\})(?:/(?:[A-Za-z0-9!_.*'()-]+|\{tenant\}))*/", prefix):
        raise ValueError(f"{prefix!r} is no prefix of keys, such as imports/{{tenant}}/")
    if any(part in (".", "..") for part in prefix.split("/")):
        raise ValueError(f"{prefix!r} must not have . or .. as a part")
    return prefix


Prefix = Annotated[str, AfterValidator(_prefix)]


class CampaignSettings(Section):
    """How large a campaign may be, how its rows come into the queue, and what holds where a campaign says nothing."""

    max_rows: int = Field(default=2_000_000, ge=1, le=2**31 - 1)
    # Of an input, as it is sent, and of one row in it.
    max_input_bytes: int = Field(default=4 * 2**30, ge=1024)
    max_record_bytes: int = Field(default=256 * 1024, ge=1024)
    # How many of a campaign's jobs are in the queue at a time, however many workers there are.
    most_ahead: int = Field(default=5000, ge=1)
    # Of its jobs.
    priority: int = Field(default=20, ge=0, le=100)
    # Rows that are rendered before the rest is approved.
    sample: int = Field(default=0, ge=0, le=10_000)
    # It pauses when more than this share of the first so many rows failed.
    stop_share: float = Field(default=0.5, ge=0, lt=1)
    stop_of_first: int = Field(default=20, ge=1)
    # Per cent of its rows between two events; 0 is never.
    progress_every: int = Field(default=10, ge=0, le=100)
    # Where in the bucket inputs may be read from, and videos may be put: `{tenant}` is the campaign's own.
    s3_inputs: tuple[Prefix, ...] = ("imports/{tenant}/",)
    s3_outputs: tuple[Prefix, ...] = ("exports/{tenant}/",)
    # Ended ones are deleted after this; none: when their owner says so.
    keep_s: Seconds | None = None

    @property
    def stop(self) -> StopRule:
        """When failures pause a campaign that says nothing of it."""
        return StopRule(share=self.stop_share, of_first=self.stop_of_first)


class BillingSettings(Section):
    """What money is."""

    # ISO 4217: that of `pools.*.price_per_gpu_hour`.
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")


class AutoscaleSettings(Section):
    """When pools with kinds get more workers and fewer; `policy/autoscale.py` explains what has its name there."""

    # Between two decisions.
    every_s: float = Field(default=5, gt=0, le=30)
    # Caps of all pools with kinds together; none is no cap.
    max_gpus: int | None = Field(default=None, ge=0)
    max_money_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    # What waits without a deadline should be done within this, and what somebody sits and waits for within that.
    clear_s: Seconds = 1800
    urgent_within_s: Seconds = 120
    # A job of this priority or a lower number is one that somebody sits and waits for.
    urgent_priority: int = Field(default=10, ge=0, le=100)
    # Deadlines get this many times what they need.
    headroom: float = Field(default=1.1, ge=1, le=10)
    # What is too many goes after the first; where there is no work at all, after the second.
    surplus_s: Seconds = 120
    idle_s: Seconds = 300
    # A worker has so many times its kind's `start_s` to come, and no less than `patience_s`.
    patience: float = Field(default=2.0, ge=1, le=100)
    patience_s: Seconds = 60
    # The pause of a kind that did not come, which doubles with each, and the longest one.
    backoff_s: Seconds = 60
    backoff_most_s: Seconds = 3600

    @property
    def rules(self) -> ScalingRules:
        return ScalingRules(
            clear_s=self.clear_s,
            urgent_within_s=self.urgent_within_s,
            headroom=self.headroom,
            surplus_s=self.surplus_s,
            idle_s=self.idle_s,
            patience=self.patience,
            patience_s=self.patience_s,
            backoff_s=self.backoff_s,
            backoff_most_s=self.backoff_most_s,
        )


class SharedSettings(Section):
    """Workers that several pools share: each holds one pool's model at a time (`policy/affinity.py`)."""

    # Their names.
    pools: tuple[str, ...] = Field(min_length=2)
    workers: int = Field(ge=1, le=10_000)
    # Jobs whose model no worker holds wait no longer before one is taken for them.
    cold_wait_s: Seconds = _SWAPPING.cold_wait_s
    # A worker that was given a model keeps it at least so long.
    hold_s: Seconds = _SWAPPING.hold_s
    # What waits must take so many times as long as loading, or no worker is taken for it before `cold_wait_s`.
    pays: float = Field(default=_SWAPPING.pays, ge=1, le=1000)
    # Swaps that are under way at a time; none is one, and one more for each eight workers.
    at_once: int | None = Field(default=None, ge=1, le=10_000)

    @field_validator("pools")
    @classmethod
    def _once_each(cls, pools: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((pool for pool in pools if pools.count(pool) > 1), None)
        if twice is not None:
            raise ValueError(f"has {twice!r} twice")
        return pools

    @model_validator(mode="after")
    def _held_shorter(self) -> Self:
        if self.hold_s > self.cold_wait_s:
            raise ValueError("hold_s must be at most cold_wait_s, or no worker could be taken in time")
        return self

    @property
    def rules(self) -> Swapping:
        return Swapping(
            cold_wait_s=self.cold_wait_s,
            hold_s=self.hold_s,
            pays=self.pays,
            at_once=at_once_of(self.workers) if self.at_once is None else self.at_once,
        )


class RaySettings(Section):
    """The cluster that a dispatcher drives."""

    # What `ray.init` takes: `host:port`.
    address: str | None = None
    # Its name in the database.
    cluster: str = "default"


class LeaseSettings(Section):
    """When a claim is its worker's, and when it is so no more."""

    # A worker whose heartbeat stands still for so long is dead. It must outlast a redeploy of the dispatcher plus Ray's
    # own detection of a lost head.
    ttl_s: Seconds = 180
    # Between two heartbeats.
    beat_s: Seconds = 5
    # A claim that its worker does not hold goes back after this.
    unheld_grace_s: Seconds = 30
    # Between two looks for requests to cancel.
    cancel_poll_s: Seconds = 0.5
    # The longest that a poll of a worker waits.
    poll_timeout_s: Seconds = 20

    @model_validator(mode="after")
    def _beats_in_time(self) -> Self:
        for name in ("beat_s", "poll_timeout_s"):
            if getattr(self, name) > self.ttl_s / 2:
                raise ValueError(f"{name} must be at most half of ttl_s, or workers that live are taken for dead")
        return self


class RetrySettings(Section):
    """How a job that failed is tried again."""

    # After so many failures it fails, unless its request says otherwise.
    max_attempts: int = Field(default=3, ge=1, le=100)
    # The pause after the first failure, which doubles with each, and the longest one.
    base_s: Seconds = 5
    cap_s: Seconds = 300


class WatchdogSettings(Section):
    """How long a worker may be silent: `floor_s`, `factor` and `upload_s` are those of `Patience`."""

    floor_s: Seconds = 120
    factor: Seconds = 10
    upload_s: Seconds = 900
    # How long a model may take to load.
    load_s: Seconds = 1800

    @field_validator("upload_s")
    @classmethod
    def _outlasts_a_worker(cls, upload_s: float) -> float:
        if upload_s <= UPLOAD_TRIED_S:
            raise ValueError(
                f"must be more than {UPLOAD_TRIED_S:g}, the seconds for which a worker itself tries to upload"
            )
        return upload_s

    @property
    def patience(self) -> Patience:
        """How long a render may be silent."""
        return Patience(floor_s=self.floor_s, factor=self.factor, upload_s=self.upload_s)


class PredictionSettings(Section):
    """How finished renders teach how long renders take."""

    # A render counts half as much as one that came so much later.
    half_life_s: Seconds = 24 * 3600
    # So many of the last renders of each kind are kept; after half as many a change is followed.
    keep: int = Field(default=KEPT, ge=1, le=1000)
    # A kind of render that nobody asked for in so long is forgotten, and of more than so many the longest unseen.
    keep_s: Seconds = 30 * 24 * 3600
    most: int = Field(default=1000, ge=1)


class RetentionSettings(Section):
    """How long what has ended is kept."""

    # A job that ended so long ago goes, with its objects.
    jobs_s: Seconds = 30 * 24 * 3600
    # What losing claims have uploaded goes so long after their job's end.
    losers_s: Seconds = 3600
    # Rows of the outbox, and those of dead workers.
    outbox_s: Seconds = 7 * 24 * 3600
    # Between two runs of the sweepers.
    every_s: Seconds = 60


class AuditSettings(Section):
    """How the audit log is sealed, and for how long it is kept."""

    # Between two seals: what is done to an entry before it has one leaves no trace.
    every_s: Seconds = 5
    keep_days: float = Field(default=400, gt=0, allow_inf_nan=False)


class MetricsSettings(Section):
    """Where processes serve `/metrics` and `/healthz`."""

    host: str = "127.0.0.1"
    # None: the API serves them at the port that its callers have.
    api_port: int | None = Field(default=None, ge=0, le=65535)
    dispatch_port: int = Field(default=9101, ge=0, le=65535)
    maintain_port: int = Field(default=9102, ge=0, le=65535)
    # Between two looks at the queue.
    queue_every_s: Seconds = 5
    # What a scraper must present as `Authorization: Bearer`; None lets in whoever comes.
    token: SecretStr | None = None

    @property
    def bearer(self) -> str | None:
        """The token, readable."""
        return None if self.token is None else self.token.get_secret_value()

    @field_validator("token")
    @classmethod
    def _sendable(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,}=*", token.get_secret_value()):
            raise ValueError("must have at least 16 characters, of letters, digits and ._~+/- (RFC 6750)")
        return token
