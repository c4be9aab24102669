"""What an owner asks for, checked: a campaign that does not exist yet, or what a patch changes of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.adapters.fetch import check_url
from orchestrator.config import Settings
from orchestrator.domain.campaign import Ask, BudgetAsk, StopRule, TemplateVersion
from orchestrator.domain.delivering import OutputPattern
from orchestrator.domain.errors import InvalidField, Unsupported
from orchestrator.domain.request import MAX_PRIORITY, MAX_SEED
from orchestrator.domain.template import Template
from orchestrator.domain.texts import check_metadata, check_text
from orchestrator.kit.schedules import next_run
from orchestrator.policy import budget as budgets
from orchestrator.policy import failing
from orchestrator.policy.order import ARRIVAL, SPREAD

_MAX_NAME = 200
MAX_SAMPLE = 10_000
MAX_VARIANTS = 1_000
# Times behind it are nobody's wish, and near the last one that there is, none can be reckoned with.
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_DEADLINES, _MISSES = ("continue", "stop"), ("warn", "refuse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A campaign, or changes of one, as its caller asked. What is not `said` is as it was, or the default."""

    # The names of the fields that the caller has set.
    said: frozenset[str] = frozenset()
    name: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    variants: int = 1
    seeds: Sequence[int] | None = None
    sample: int | None = None
    order: str = ARRIVAL
    strict: bool = False
    approval: bool = True
    priority: int | None = None
    max_running: int | None = None
    budget: BudgetAsk | None = None
    stop: StopRule | None = None
    progress_every: int | None = None
    webhook_url: str | None = None
    row_webhooks: bool = False
    output: str | None = None
    metadata: Mapping[str, str] | None = None
    run_at: datetime | None = None
    deadline: datetime | None = None
    on_deadline: str = "continue"
    on_miss: str = "warn"
    cron: str | None = None
    time_zone: str | None = None


def check(wish: Wish, settings: Settings, tenant: str) -> None:
    """Raise a `RequestError` that names the first field that cannot be meant."""
    check_text(wish.name or "", "name", max_chars=_MAX_NAME)
    template_of(wish, version=1)
    _within(wish.variants, "variants", 1, MAX_VARIANTS)
    for seed in wish.seeds or ():
        _within(seed, "seeds", 0, MAX_SEED)
    if wish.seeds is not None and not 1 <= len(wish.seeds) <= MAX_VARIANTS:
        raise InvalidField(f"must be between 1 and {MAX_VARIANTS} seeds", param="seeds")
    if wish.seeds and wish.variants not in (1, len(wish.seeds)):
        raise InvalidField("must be as many as there are seeds, or left out", param="variants")
    _within(wish.sample or 0, "sample", 0, MAX_SAMPLE)
    _one_of(wish.order, "order", (ARRIVAL, SPREAD))
    _one_of(wish.on_deadline, "on_deadline", _DEADLINES)
    _one_of(wish.on_miss, "on_miss", _MISSES)
    if wish.on_miss == "refuse" and not wish.approval:
        raise InvalidField("refuse needs an approval that can be refused", param="on_miss")
    _within(wish.priority or 0, "priority", 0, MAX_PRIORITY)
    if wish.max_running is not None:
        _within(wish.max_running, "max_running", 1, 2**31 - 1)
    _within(wish.progress_every or 0, "progress_every", 0, 100)
    if wish.budget is not None:
        budgets.check(wish.budget)
        if wish.budget.unit == "money" and not settings.prices:
            raise Unsupported("no pool of this deployment has a price", param="budget.unit")
    if wish.stop is not None:
        failing.check(wish.stop)
    if wish.webhook_url is not None:
        check_url(wish.webhook_url, "webhook_url", reach=settings.webhook_reach)
    if wish.output is not None:
        pattern_of(wish.output, settings, tenant)
    check_metadata(wish.metadata or {})
    for moment, name in ((wish.run_at, "run_at"), (wish.deadline, "deadline")):
        if moment is not None and moment.tzinfo is None:
            raise InvalidField("must name its time zone", param=name)
        if moment is not None and moment >= _LATEST:
            raise InvalidField(f"must lie before {_LATEST:%Y}", param=name)
    if (wish.cron is None) != (wish.time_zone is None):
        raise InvalidField("cron and time_zone come together", param="schedule", code="missing")


def template_of(wish: Wish, *, version: int) -> TemplateVersion:
    """The template that is asked for. Raises `InvalidField`."""
    Template.parse(wish.prompt or "", "template.prompt")
    Template.parse(wish.negative_prompt or "", "template.negative_prompt")
    for name in ("prompt", "seed", "priority", "webhook_url", "run_at", "deadline", "idempotency_key"):
        if name in wish.defaults:
            raise InvalidField("is no default of rows: say it of the campaign or in its rows", param=f"defaults.{name}")
    return TemplateVersion(
        version=version,
        prompt=wish.prompt or "",
        negative_prompt=wish.negative_prompt,
        defaults=dict(wish.defaults),
    )


def ask_of(wish: Wish, settings: Settings) -> Ask:
    """What is asked, with the deployment's defaults."""
    own = settings.campaigns
    return Ask(
        name=wish.name,
        variants=len(wish.seeds) if wish.seeds else wish.variants,
        seeds=None if wish.seeds is None else tuple(wish.seeds),
        sample=own.sample if wish.sample is None else wish.sample,
        order=wish.order,
        strict=wish.strict,
        approval=wish.approval,
        on_deadline=wish.on_deadline,
        on_miss=wish.on_miss,
        budget=wish.budget,
        stop=own.stop if wish.stop is None else wish.stop,
        progress_every=own.progress_every if wish.progress_every is None else wish.progress_every,
        webhook_url=wish.webhook_url,
        row_webhooks=wish.row_webhooks,
        output=wish.output,
        metadata=wish.metadata,
        cron=wish.cron,
        time_zone=wish.time_zone,
    )


def pattern_of(output: str, settings: Settings, tenant: str) -> OutputPattern:
    """Where the videos go. Raises a `RequestError` about `output`."""
    return OutputPattern.parse(
        output, bucket=settings.s3.bucket, allowed=prefixes(settings.campaigns.s3_outputs, tenant)
    )


def prefixes(patterns: Sequence[str], tenant: str) -> list[str]:
    """The prefixes of the bucket that a tenant may use. A tenant's name cannot lead out of its own."""
    own = "".join(letter if letter.isalnum() or letter in "-_" else f"%{ord(letter):02X}" for letter in tenant)
    return [pattern.replace("{tenant}", own) for pattern in patterns]


def own_prefixes(patterns: Sequence[str], tenant: str) -> list[str]:
    """Of those, the ones that no other tenant may use: whose pattern has the tenant as a whole step of its path."""
    return prefixes([pattern for pattern in patterns if not shared(pattern)], tenant)


def shared(pattern: str) -> bool:
    """Whether what lies below a prefix may be of several tenants."""
    return "{tenant}" not in pattern.split("/")


def next_of(cron: str | None, zone: str | None, after: datetime) -> datetime | None:
    """When a recurring campaign begins next; None for one that does not recur. Raises `InvalidField`."""
    return None if cron is None or zone is None else next_run(cron, zone, after)


def _within(value: float, param: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidField(f"must be between {low} and {high}, not {value}", param=param)


def _one_of(value: str, param: str, words: Sequence[str]) -> None:
    if value not in words:
        raise InvalidField(f"must be {' or '.join(words)}, not {value[:80]!r}", param=param)
