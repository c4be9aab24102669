"""Every Prometheus name and label, in one place. Base units: seconds, bytes, counts."""

from __future__ import annotations

import math
from collections import Counter as Counted
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram

from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.domain.protocol import WorkerState
from orchestrator.ports import Backlog, QueueDepth
from orchestrator.ports.fleet import KindState

_HTTP_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_RENDER_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 90, 120, 180, 300, 600, 1200, 3600)
# Off by a third is what the alert looks at.
_RATIO_BUCKETS = (0.25, 0.5, 0.667, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.333, 1.5, 2, 4)
_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)
# With the two minutes that the service level objective speaks of.
_FIRST_STEP_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 4 * 3600, 12 * 3600)
_DATABASE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
_S3_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)

http_seconds = Histogram(
    "cogmill_http_request_seconds",
    "Time until the answer to a request begins, by route template.",
    ("method", "route", "status"),
    buckets=_HTTP_BUCKETS,
)
submitted = Counter("cogmill_jobs_submitted_total", "Jobs accepted, by pool.", ("pool",))
unauthenticated = Counter(
    "cogmill_authentication_failures_total",
    "Requests without a good key, by reason: missing, malformed, invalid, unverified, revoked, expired or address.",
    ("reason",),
)
audit_seals = Counter("cogmill_audit_seals_total", "Seals made of the audit log.")
audit_unsealed = Gauge("cogmill_audit_unsealed", "Entries of the audit log that wait for a seal.")
audit_unsealed_age = Gauge(
    "cogmill_audit_unsealed_age_seconds", "For how long the oldest of them has; 0 where none waits."
)
uncounted_requests = Counter(
    "cogmill_uncounted_requests_total", "Requests that passed because the storage of request rates did not answer."
)
moderated = Counter(
    "cogmill_moderation_total",
    "Answers of the moderation hook, by subject (request or video): allowed, refused or unanswered.",
    ("subject", "verdict"),
)

spans = Counter(
    "cogmill_trace_spans_total",
    "Spans of traces, by fate: made, sent or refused. What was made and is neither found no room in the queue.",
    ("fate",),
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
jobs_failed = Counter(
    "cogmill_jobs_failed_total",
    "Jobs that ended as failed, by pool, code of the failure, and whose fault that is: the request's or the service's.",
    ("pool", "code", "fault"),
)
tenants_waiting = Gauge("cogmill_tenants_waiting", "Tenants with jobs that wait, by pool.", ("pool",))
backlog_seconds = Gauge(
    "cogmill_backlog_seconds",
    "Predicted GPU seconds of what waits in a pool: of all tenants, and of the one with the most (part all, largest).",
    ("pool", "part"),
)
guarantees_short = Gauge(
    "cogmill_guarantees_short_workers",
    "Workers that tenants are guaranteed in a pool, have jobs for, and do not have.",
    ("pool",),
)

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
first_step_seconds = Histogram(
    "cogmill_first_step_seconds",
    "From a job's first claim becoming possible to its first denoise step, by pool and urgency: interactive or bulk.",
    ("pool", "urgency"),
    buckets=_FIRST_STEP_BUCKETS,
)
render_seconds = Histogram(
    "cogmill_render_seconds", "GPU seconds of a finished render.", ("pool",), buckets=_RENDER_BUCKETS
)
stage_seconds = Histogram(
    "cogmill_stage_seconds", "Seconds of each stage of a finished render.", ("pool", "stage"), buckets=_RENDER_BUCKETS
)
steps = Counter("cogmill_denoise_steps_total", "Denoise steps seen, by pool.", ("pool",))
prediction_error = Histogram(
    "cogmill_prediction_error_ratio",
    "GPU seconds of a finished render to those that were predicted when it ended, by pool and model.",
    ("pool", "model"),
    buckets=_RATIO_BUCKETS,
)
learned_ratio = Gauge(
    "cogmill_prediction_learned_ratio",
    "GPU seconds that renders of a pool's model take per second that the catalogue predicts, as they have taught.",
    ("pool", "model"),
)

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

fleet_workers = Gauge(
    "cogmill_fleet_workers",
    "Workers of kinds, by pool, kind and state: wanted, and of these requested, starting or ready; and draining.",
    ("pool", "kind", "state"),
)
fleet_resting = Gauge(
    "cogmill_fleet_resting_seconds",
    "For how long no worker of a kind is asked for, since none came in its time, by pool and kind.",
    ("pool", "kind"),
)
scale_decisions = Counter(
    "cogmill_scale_decisions_total",
    "Decisions for more or fewer workers of a kind.",
    ("pool", "kind", "change"),
)

ray_clusters = Gauge(
    "cogmill_ray_clusters",
    "Ray clusters of the release, by state: coming, serving, yielding, retiring, kept or ending.",
    ("state",),
)
roll_overdue = Gauge("cogmill_roll_overdue", "1 while a roll from one Ray cluster to the next hangs; else 0.")
shared_workers = Gauge(
    "cogmill_shared_workers",
    "Workers of a set that several pools share, by set, pool whose model they hold or are given, and state.",
    ("set", "pool", "state"),
)
swaps = Counter(
    "cogmill_swaps_total",
    "Workers that were given the model of another pool, by set, pool, and cause: bound, spare or backlog.",
    ("set", "pool", "cause"),
)

database_seconds = Histogram(
    "cogmill_database_seconds",
    "A call of PostgreSQL with its wait for a connection and its repetitions, by what it is: statement or transaction.",
    ("call",),
    buckets=_DATABASE_BUCKETS,
)
database_errors = Counter(
    "cogmill_database_errors_total",
    "Calls of PostgreSQL that failed (unavailable, read_only or no_connection), and repetitions (retried).",
    ("error",),
)
database_connections = Gauge(
    "cogmill_database_connections",
    "Connections of this process to PostgreSQL: open, of these busy, and the most that there may be.",
    ("state",),
)
s3_seconds = Histogram(
    "cogmill_s3_request_seconds",
    "A call of S3 until its answer begins, with its repetitions, by operation.",
    ("operation",),
    buckets=_S3_BUCKETS,
)
s3_errors = Counter(
    "cogmill_s3_errors_total",
    "Calls of S3 that failed, by operation and error: refused (4xx but not found), busy, server (5xx) or unreachable.",
    ("operation", "error"),
)

loop_failures = Counter("cogmill_loop_failures_total", "Runs of a background loop that raised, by loop.", ("loop",))
parked = Counter(
    "cogmill_parked_total",
    "What broke the loop that met it and was put aside, so that the others go on, by loop.",
    ("loop",),
)
swept_objects = Counter("cogmill_swept_objects_total", "Objects deleted by retention.")
batches_ended = Counter("cogmill_batches_ended_total", "Batches that ended, by final status.", ("status",))
campaigns = Gauge("cogmill_campaigns", "Campaigns that have not ended, by state.", ("state",))
campaign_rows = Gauge(
    "cogmill_campaign_rows", "Rows of campaigns that have not ended, by how they ended or that they wait.", ("outcome",)
)
campaigns_at_risk = Gauge(
    "cogmill_campaigns_at_risk", "Campaigns whose deadline lies before or in their forecast, or that a budget ends."
)
forecast_pools = Gauge(
    "cogmill_forecast_pool_seconds",
    "Until all that a pool has to render is done: 10%, 50%, 90% (bound low, likely, high).",
    ("pool", "bound"),
)
forecast_made = Gauge("cogmill_forecast_made_timestamp_seconds", "When this process has last made forecasts.")
forecast_seconds = Histogram(
    "cogmill_forecast_seconds", "Of one round of forecasts.", buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10)
)
forecast_error = Histogram(
    "cogmill_campaign_forecast_error_ratio",
    "Of a campaign that completed: from half of its time to its end, to what was the likely rest at that moment.",
    buckets=_RATIO_BUCKETS,
)
forecasts_held = Counter(
    "cogmill_campaign_forecasts_total",
    "The same forecasts, by whether the end lay in their range, before it or behind it: held, early or late.",
    ("held",),
)
campaigns_moved = Counter("cogmill_campaign_transitions_total", "Campaigns that came to a state.", ("state",))

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


# A first one, too, is an increase.
for _error in ("unavailable", "read_only", "no_connection", "retried"):
    database_errors.labels(_error)
for _held in ("held", "early", "late"):
    forecasts_held.labels(_held)


def show_queue(depths: Sequence[QueueDepth]) -> None:
    """Replace the queue gauges by this reading; pools and states that are gone disappear."""
    _replace(jobs, {(depth.pool, str(depth.state)): depth.count for depth in depths})
    _replace(oldest_age, {(depth.pool, str(depth.state)): depth.oldest_age_s for depth in depths})


def show_backlogs(waiting: Mapping[str, Mapping[str, float]]) -> None:
    """Replace the gauges of who waits by this reading: predicted GPU seconds of each tenant, by pool."""
    _replace(tenants_waiting, {(pool,): len(tenants) for pool, tenants in waiting.items()})
    parts = (("all", math.fsum), ("largest", max))
    _replace(
        backlog_seconds,
        {(pool, part): of(tenants.values()) for pool, tenants in waiting.items() if tenants for part, of in parts},
    )


def show_learned(ratios: Mapping[tuple[str, str], float]) -> None:
    """Set the ratio of each (model, pool) of which something is known, and forget the others."""
    _replace(learned_ratio, {(pool, model): ratio for (model, pool), ratio in ratios.items()})


def show_unsealed(count: int, age_s: float) -> None:
    """What of the audit log waits for a seal."""
    audit_unsealed.set(count)
    audit_unsealed_age.set(age_s)


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


def show_fleet(kinds: Sequence[KindState]) -> None:
    """Replace the gauges of kinds by this reading."""
    states = ("wanted", "requested", "starting", "ready", "draining")
    _replace(fleet_workers, {(it.pool, it.kind, state): getattr(it, state) for it in kinds for state in states})
    _replace(fleet_resting, {(it.pool, it.kind): it.rests_s for it in kinds})


def show_clusters(states: Iterable[ClusterState], *, overdue: bool) -> None:
    """Set the gauges of clusters and of the roll; a state that none is in is 0."""
    counted = Counted(states)
    for state in ClusterState:
        ray_clusters.labels(state.value).set(counted[state])
    roll_overdue.set(overdue)


def show_shared(sets: Sequence[KindState]) -> None:
    """Replace the gauges of shared workers by this reading, in which a kind is a set."""
    states = ("wanted", "requested", "starting", "ready", "draining")
    _replace(shared_workers, {(it.kind, it.pool, state): getattr(it, state) for it in sets for state in states})


def _replace(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Set these and remove the rest; a scrape in between sees old or new values, never none."""
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    for sample in next(iter(gauge.collect())).samples:
        known = tuple(sample.labels.values())
        if known not in values:
            gauge.remove(*known)


def show_forecasts(outlooks: Iterable[KeptOutlook]) -> None:
    """Set the gauges of forecasts, none where another leads; a pool that is never done is infinitely far away."""
    known = list(outlooks)
    if known:
        forecast_made.set_to_current_time()
    campaigns_at_risk.set(sum(each.at_risk is True for each in known))
    seconds: dict[tuple[str, ...], float] = {}
    for each in known:
        if each.subject is Subject.POOL:
            for bound, moment in (("low", each.low_at), ("likely", each.likely_at), ("high", each.high_at)):
                seconds[each.name, bound] = math.inf if moment is None else (moment - each.made_at).total_seconds()
    _replace(forecast_pools, seconds)


def show_campaigns(states: Mapping[str, int], rows: Mapping[str, int]) -> None:
    """Set the gauges of campaigns; a state that none is in is 0, not what it was."""
    for gauge, found in ((campaigns, states), (campaign_rows, rows)):
        gauge.clear()
        for word, count in found.items():
            gauge.labels(word).set(count)
