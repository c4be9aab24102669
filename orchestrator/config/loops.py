"""The sections of what goes on in loops: leases, retries, watchdog, webhooks, batches, retention, and their metrics."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from orchestrator.config.section import Seconds, Section
from orchestrator.policy.watchdog import UPLOAD_TRIED_S, Patience


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


class BatchSettings(Section):
    """How many requests a file may hold, and how they come into the queue."""

    max_lines: int = Field(default=50_000, ge=1)
    # Of any uploaded file.
    max_file_bytes: int = Field(default=200 * 2**20, ge=1024)
    # How many of a batch's jobs are in the queue at a time.
    ahead: int = Field(default=1000, ge=1)
    # Of its jobs, where a line says nothing.
    priority: int = Field(default=20, ge=0, le=100)


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


class MetricsSettings(Section):
    """Where the dispatcher and the maintainer serve `/metrics` and `/healthz`; the API serves them itself."""

    host: str = "127.0.0.1"
    dispatch_port: int = Field(default=9101, ge=0, le=65535)
    maintain_port: int = Field(default=9102, ge=0, le=65535)
    # Between two looks at the queue.
    queue_every_s: Seconds = 5
