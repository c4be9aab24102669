"""Every Prometheus name and label, in one place. Base units: seconds, bytes, counts."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram

from orchestrator.domain.protocol import WorkerState
from orchestrator.ports import Backlog, QueueDepth

_HTTP_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_RENDER_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 90, 120, 180, 300, 600, 1200, 3600)
_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)

http_seconds = Histogram(
    "cogmill_http_request_seconds",
    "Time until the answer to a request begins, by route template.",
    ("method", "route", "status"),
    buckets=_HTTP_BUCKETS,
)
submitted = Counter("cogmill_jobs_submitted_total", "Jobs accepted, by pool.", ("pool",))
uncounted_requests = Counter(
    "cogmill_uncounted_requests_total", "Requests that passed because the storage of request rates did not answer."
)
moderated = Counter(
    "cogmill_moderation_total",
    "Answers of the moderation hook, by subject (request or video): allowed, refused or unanswered.",
    ("subject", "verdict"),
)

listener_failures = Counter(
    "cogmill_listener_failures_total",
    "Attempts to listen for new jobs that failed; until one succeeds, jobs are polled.",
)

jobs = Gauge("cogmill_jobs", "Jobs that have not ended, by pool and state.", ("pool", "state"))
oldest_age = Gauge(
    "cogmill_queue_oldest_age_seconds", "For how long the oldest job of a pool has been in a state.", ("pool", "state")
)
pool_paused = Gauge("cogmill_pool_paused", "1 while a pool or the whole queue is paused, by pool; else 0.", ("pool",))
jobs_ended = Counter("cogmill_jobs_ended_total", "Jobs that ended, by pool and final state.", ("pool", "state"))

attempts = Counter("cogmill_attempts_total", "Attempts that ended, by pool and outcome.", ("pool", "outcome"))
settle_results = Counter(
    "cogmill_settlements_total", "Guarded writes, by what they found: applied, already or stale.", ("settled",)
)
wait_seconds = Histogram(
    "cogmill_job_wait_seconds",
    "From a job's claim becoming possible to its claim.",
    ("pool",),
    buckets=_WAIT_BUCKETS,
)
render_seconds = Histogram(
    "cogmill_render_seconds", "GPU seconds of a finished render.", ("pool",), buckets=_RENDER_BUCKETS
)
stage_seconds = Histogram(
    "cogmill_stage_seconds", "Seconds of each stage of a finished render.", ("pool", "stage"), buckets=_RENDER_BUCKETS
)
steps = Counter("cogmill_denoise_steps_total", "Denoise steps seen, by pool.", ("pool",))

preemptions = Counter(
    "cogmill_preemptions_total",
    "Renders seen to wait in their worker's memory for a more urgent one, by pool.",
    ("pool",),
)
checkpoints = Counter("cogmill_checkpoints_total", "Checkpoints seen to be stored, by pool.", ("pool",))
evictions = Counter(
    "cogmill_evictions_total",
    "Renders that left their worker before their end, by pool and what their checkpoint did: advanced or stood_still.",
    ("pool", "checkpoint"),
)
resumes = Counter(
    "cogmill_resumes_total",
    "Videos of renders that had a checkpoint to go on from, by pool and continuity.",
    ("pool", "continuity"),
)
incidents = Counter(
    "cogmill_incidents_total",
    "What befell renders that went on all the same, by pool and incident.",
    ("pool", "incident"),
)

claims = Counter("cogmill_claims_total", "Jobs claimed, by pool.", ("pool",))
lease_renewals = Counter("cogmill_lease_renewals_total", "Heartbeats written for workers, by pool.", ("pool",))
lease_expiries = Counter(
    "cogmill_lease_expiries_total",
    "Workers declared dead, by reason: silent, vanished, hung, loading, broken or quarantined.",
    ("reason",),
)
recovered = Counter("cogmill_recovered_total", "Lost claims whose finished video was published from result.json.")
unknown_tokens = Counter("cogmill_unknown_tokens_total", "Renders cancelled because the database disowned their token.")

workers_quarantined = Counter(
    "cogmill_workers_quarantined_total",
    "Workers replaced since several different jobs in a row failed on them.",
    ("pool",),
)
workers = Gauge("cogmill_workers", "Workers, by pool and state.", ("pool", "state"))
gpu_busy_seconds = Counter("cogmill_gpu_busy_seconds_total", "Seconds that workers held their GPU busy.", ("pool",))

loop_failures = Counter("cogmill_loop_failures_total", "Runs of a background loop that raised, by loop.", ("loop",))
parked = Counter(
    "cogmill_parked_total",
    "What broke the loop that met it and was put aside, so that the others go on, by loop.",
    ("loop",),
)
swept_objects = Counter("cogmill_swept_objects_total", "Objects deleted by retention.")
batches_ended = Counter("cogmill_batches_ended_total", "Batches that ended, by final status.", ("status",))

webhook_tries = Counter(
    "cogmill_webhook_tries_total",
    "Tries to deliver a webhook, by outcome: delivered, retry, gone, or stale (its lease had run out).",
    ("outcome",),
)
webhooks_given_up = Counter("cogmill_webhooks_given_up_total", "Webhooks that were never delivered.")
webhooks_in_flight = Gauge("cogmill_webhooks_in_flight", "Webhooks that this process is delivering.")
webhooks_pending = Gauge("cogmill_webhooks_pending", "Webhooks that are still to be delivered.")
webhook_oldest_age = Gauge("cogmill_webhook_oldest_age_seconds", "Age of the oldest webhook still to be delivered.")
outbox_oldest_age = Gauge(
    "cogmill_outbox_oldest_age_seconds", "Age of the oldest event that has not been made into webhooks."
)


def show_queue(depths: Sequence[QueueDepth]) -> None:
    """Replace the queue gauges by this reading; pools and states that are gone disappear."""
    _replace(jobs, {(depth.pool, str(depth.state)): depth.count for depth in depths})
    _replace(oldest_age, {(depth.pool, str(depth.state)): depth.oldest_age_s for depth in depths})


def show_pauses(paused: Mapping[str, bool]) -> None:
    """Set whether each of these pools is paused."""
    for pool, yes in paused.items():
        pool_paused.labels(pool).set(yes)


def show_webhooks(backlog: Backlog) -> None:
    """Set the webhook gauges to this reading."""
    webhooks_pending.set(backlog.pending)
    webhook_oldest_age.set(backlog.oldest_age_s)
    outbox_oldest_age.set(backlog.oldest_event_age_s)


def show_workers(states: Iterable[tuple[str, WorkerState]]) -> None:
    """Replace the worker gauges by these (pool, state) pairs; every state of a known pool is shown, zero included."""
    counted = Counted((pool, str(state)) for pool, state in states)
    pools = {pool for pool, _ in counted}
    _replace(workers, {(pool, str(state)): counted[pool, str(state)] for pool in pools for state in WorkerState})


def _replace(gauge: Gauge, values: Mapping[tuple[str, str], float]) -> None:
    """Set these and remove the rest; a scrape in between sees old or new values, never none."""
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    for sample in next(iter(gauge.collect())).samples:
        known = tuple(sample.labels.values())
        if known not in values:
            gauge.remove(*known)
