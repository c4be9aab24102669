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


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that holds now."""

    name: str
    severity: Severity
    summary: str
    # The pool, the tenant or the campaign that it is about; empty where it is about all.
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSigns:
    """What is known of one pool."""

    paused: str | None = None
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
    # Budgets that have nothing left: whose, and in words which.
    exhausted: Sequence[tuple[str, str]] = ()
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
    def fires(name: str, severity: Severity, summary: str) -> Alert:
        return Alert(name=name, severity=severity, summary=summary, subject=pool)

    if it.paused is not None:
        yield fires("PoolPaused", Severity.INFO, f"Nothing begins: {it.paused}")
    idle_s = min(it.oldest_wait_s or 0.0, STUCK_S if it.claimed_s is None else it.claimed_s)
    if it.paused is None and it.waiting and idle_s >= STUCK_S and not it.ended_lately:
        yield fires(
            "QueueStuck",
            Severity.CRITICAL,
            f"{_many(it.waiting, 'job')} in the queue, and none has begun for 15 minutes.",
        )
    if it.ready == 0 and it.wanted:
        yield fires("NoReadyWorker", Severity.CRITICAL, f"None is ready, and there should be {it.wanted}.")
    if it.broken:
        why = f": {it.reason}" if it.reason else ""
        yield fires("WorkerBroken", Severity.WARNING, f"{_many(it.broken, 'worker')} cannot load the model{why}.")
    if it.quarantined > QUARANTINES:
        yield fires(
            "WorkersQuarantined", Severity.WARNING, f"{_many(it.quarantined, 'worker')} given up within 6 hours."
        )
    if it.failed > FAILING_LEAST and it.failed > FAILING_SHARE * it.ended:
        share = f"{100 * it.failed / it.ended:.0f}%"
        yield fires("JobsFailing", Severity.WARNING, f"{share} of what ended within 30 minutes has failed.")
    if it.paused is None and it.least_waiting and it.busy_share is not None and it.busy_share < IDLE_SHARE:
        share = f"{100 * it.busy_share:.0f}%"
        yield fires("GpusIdle", Severity.WARNING, f"GPUs were busy for {share} of 15 minutes while jobs waited.")


def _of_all(facts: Facts) -> Iterable[Alert]:
    def warns(name: str, summary: str, subject: str = "") -> Alert:
        return Alert(name=name, severity=Severity.WARNING, summary=summary, subject=subject)

    for campaign, advice in facts.at_risk.items():
        words = f" {advice}" if advice else ""
        yield warns("CampaignAtRisk", f"It will miss its deadline, or be ended by a budget.{words}", campaign)
    for tenant, which in facts.exhausted:
        yield warns("BudgetExhausted", f"Nothing is left of {which}.", tenant)
    if facts.forecasts_s is not None and facts.forecasts_s > STALE_S:
        yield warns("ForecastsStale", f"No forecast has been made for {facts.forecasts_s / 60:.0f} minutes.")
    if facts.outbox_s > OUTBOX_S:
        yield warns("OutboxStuck", f"An event has waited {facts.outbox_s / 60:.0f} minutes to become webhooks.")
    if facts.given_up:
        yield warns("WebhooksGivenUp", f"{_many(facts.given_up, 'webhook')} given up within the hour.")
    if facts.unsealed_s > UNSEALED_S:
        yield warns(
            "AuditUnsealed", f"An entry of the audit log has no seal after {facts.unsealed_s / 60:.0f} minutes."
        )
    if facts.dead_letters:
        yield warns(
            "DeadLetters", f"{_many(facts.dead_letters, 'job')} failed for the service's fault: somebody should look."
        )
    if facts.parked:
        yield warns("Parked", f"{_many(facts.parked, 'thing')} broke the loop that met it, and was put aside.")


def _many(count: int, what: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
