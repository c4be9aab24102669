"""Which alerts fire, by what the database knows: the one home of their thresholds. Pure.

They are named and meant as the rules of Prometheus are (OPERATIONS.md, Alerts), which also wait for a while before they
fire, and see processes that these cannot: the API that reads the database is alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# A pool that has begun nothing for so long while something waited.
STUCK_S = 900.0
# Of what ended within half an hour.
FAILING_SHARE, FAILING_LEAST = 0.1, 5
# Of the last quarter of an hour, in which something waited all the time.
IDLE_MINUTES, IDLE_SHARE = 15, 0.5
QUARANTINES = 1
STALE_S = 300.0
OUTBOX_S = 300.0
UNSEALED_S = 600.0


class Severity(StrEnum):
    """How soon somebody should look."""

    CRITICAL = "critical"
    WARNING = "warning"
    # Somebody meant it so.
    INFO = "info"


class Name(StrEnum):
    """Every alert that there is; the console has words for each in its languages."""

    POOL_PAUSED = "PoolPaused"
    QUEUE_STUCK = "QueueStuck"
    NO_READY_WORKER = "NoReadyWorker"
    WORKER_BROKEN = "WorkerBroken"
    WORKERS_QUARANTINED = "WorkersQuarantined"
    JOBS_FAILING = "JobsFailing"
    GPUS_IDLE = "GpusIdle"
    CAMPAIGN_AT_RISK = "CampaignAtRisk"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    FORECASTS_STALE = "ForecastsStale"
    OUTBOX_STUCK = "OutboxStuck"
    WEBHOOKS_GIVEN_UP = "WebhooksGivenUp"
    AUDIT_UNSEALED = "AuditUnsealed"
    DEAD_LETTERS = "DeadLetters"
    PARKED = "Parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that holds now."""

    name: Name
    severity: Severity
    summary: str
    # The pool, the tenant or the campaign that it is about; empty where it is about all.
    subject: str = ""
    # What the summary tells, for whoever words it otherwise. `detail` is a sentence of somebody else.
    values: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A budget that has nothing left."""

    tenant: str
    # `day` or `month`, and `gpu_seconds` or `money`.
    period: str
    unit: str
    amount: float

    @property
    def words(self) -> str:
        period = "today" if self.period == "day" else "this month"
        return f"{period}'s budget of {self.amount:g} {self.unit.replace('gpu_', 'GPU ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSigns:
    """What is known of one pool."""

    paused: str | None = None
    pause_reason: str = ""
    # Not this pool alone, but the whole queue.
    all_paused: bool = False
    waiting: int = 0
    # None where nothing waits.
    oldest_wait_s: float | None = None
    # Since the newest claim of those that run; None where none runs.
    claimed_s: float | None = None
    # Of workers, as their dispatchers told; None where no dispatcher has told anything.
    ready: int | None = None
    wanted: int = 0
    broken: int = 0
    reason: str = ""
    quarantined: int = 0
    # Within half an hour.
    ended: int = 0
    failed: int = 0
    # Within a quarter of an hour.
    ended_lately: int = 0
    least_waiting: int = 0
    busy_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of everything."""

    pools: Mapping[str, PoolSigns] = field(default_factory=dict)
    # Campaigns that will miss a deadline or be ended by a budget, and what would help.
    at_risk: Mapping[str, str] = field(default_factory=dict)
    exhausted: Sequence[Spent] = ()
    # None: no forecast is there at all.
    forecasts_s: float | None = None
    given_up: int = 0
    outbox_s: float = 0.0
    unsealed_s: float = 0.0
    dead_letters: int = 0
    parked: int = 0


def alerts(facts: Facts) -> list[Alert]:
    """Those that fire, the most severe first."""
    found = [alert for pool, signs in facts.pools.items() for alert in _of_pool(pool, signs)]
    found += _of_all(facts)
    order = list(Severity)
    return sorted(found, key=lambda alert: order.index(alert.severity))


def _of_pool(pool: str, it: PoolSigns) -> Iterable[Alert]:
    def fires(name: Name, severity: Severity, summary: str, **values: str | float) -> Alert:
        return Alert(name=name, severity=severity, summary=summary, subject=pool, values=values)

    if it.paused is not None:
        scope = "queue" if it.all_paused else "pool"
        words = f"Nothing begins: {it.paused}"
        yield fires(Name.POOL_PAUSED, Severity.INFO, words, scope=scope, detail=it.pause_reason)
    idle_s = min(it.oldest_wait_s or 0.0, STUCK_S if it.claimed_s is None else it.claimed_s)
    if it.paused is None and it.waiting and idle_s >= STUCK_S and not it.ended_lately:
        minutes = round(STUCK_S / 60)
        words = f"{_many(it.waiting, 'job')} in the queue, and none has begun for {minutes} minutes."
        yield fires(Name.QUEUE_STUCK, Severity.CRITICAL, words, count=it.waiting, minutes=minutes)
    if it.ready == 0 and it.wanted:
        words = f"None is ready, and there should be {it.wanted}."
        yield fires(Name.NO_READY_WORKER, Severity.CRITICAL, words, count=it.wanted)
    if it.broken:
        why = f": {it.reason}" if it.reason else ""
        words = f"{_many(it.broken, 'worker')} cannot load the model{why}."
        yield fires(Name.WORKER_BROKEN, Severity.WARNING, words, count=it.broken, detail=it.reason)
    if it.quarantined > QUARANTINES:
        words = f"{_many(it.quarantined, 'worker')} given up within 6 hours."
        yield fires(Name.WORKERS_QUARANTINED, Severity.WARNING, words, count=it.quarantined, hours=6)
    if it.failed > FAILING_LEAST and it.failed > FAILING_SHARE * it.ended:
        share = it.failed / it.ended
        words = f"{100 * share:.0f}% of what ended within 30 minutes has failed."
        yield fires(Name.JOBS_FAILING, Severity.WARNING, words, share=round(share, 3), minutes=30)
    if it.paused is None and it.least_waiting and it.busy_share is not None and it.busy_share < IDLE_SHARE:
        words = f"GPUs were busy for {100 * it.busy_share:.0f}% of {IDLE_MINUTES} minutes while jobs waited."
        yield fires(Name.GPUS_IDLE, Severity.WARNING, words, share=round(it.busy_share, 3), minutes=IDLE_MINUTES)


def _of_all(facts: Facts) -> Iterable[Alert]:
    def warns(name: Name, summary: str, subject: str = "", **values: str | float) -> Alert:
        return Alert(name=name, severity=Severity.WARNING, summary=summary, subject=subject, values=values)

    for campaign, advice in facts.at_risk.items():
        words = "It will miss its deadline, or be ended by a budget."
        yield warns(Name.CAMPAIGN_AT_RISK, f"{words} {advice}".strip(), campaign, detail=advice)
    for it in facts.exhausted:
        words = f"Nothing is left of {it.words}."
        yield warns(Name.BUDGET_EXHAUSTED, words, it.tenant, period=it.period, unit=it.unit, amount=it.amount)
    if facts.forecasts_s is not None and facts.forecasts_s > STALE_S:
        minutes = round(facts.forecasts_s / 60)
        yield warns(Name.FORECASTS_STALE, f"No forecast has been made for {minutes} minutes.", minutes=minutes)
    if facts.outbox_s > OUTBOX_S:
        minutes = round(facts.outbox_s / 60)
        yield warns(Name.OUTBOX_STUCK, f"An event has waited {minutes} minutes to become webhooks.", minutes=minutes)
    if facts.given_up:
        words = f"{_many(facts.given_up, 'webhook')} given up within the hour."
        yield warns(Name.WEBHOOKS_GIVEN_UP, words, count=facts.given_up)
    if facts.unsealed_s > UNSEALED_S:
        minutes = round(facts.unsealed_s / 60)
        words = f"An entry of the audit log has no seal after {minutes} minutes."
        yield warns(Name.AUDIT_UNSEALED, words, minutes=minutes)
    if facts.dead_letters:
        words = f"{_many(facts.dead_letters, 'job')} failed for the service's fault: somebody should look."
        yield warns(Name.DEAD_LETTERS, words, count=facts.dead_letters)
    if facts.parked:
        words = f"{_many(facts.parked, 'thing')} broke the loop that met it, and was put aside."
        yield warns(Name.PARKED, words, count=facts.parked)


def _many(count: int, what: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
