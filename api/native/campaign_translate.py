"""Between the bodies of requests about campaigns and what the domain knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from api.native import campaign_answers as answers
from api.native.campaign_schemas import BudgetFields, CreateCampaign, PatchCampaign, StopFields
from api.wire.replies import unix
from orchestrator.campaigns.asking import Wish
from orchestrator.campaigns.quoting import Plan
from orchestrator.config import Settings
from orchestrator.domain.campaign import BudgetAction, BudgetAsk, Campaign, CampaignState, Counts, StopRule
from orchestrator.domain.campaign_waiting import waiting_for
from orchestrator.domain.errors import InvalidField, NotFound, RequestError
from orchestrator.domain.outlooks import BELIEVED, KeptOutlook
from orchestrator.domain.waiting import Turn
from orchestrator.intake.waiting import Known
from orchestrator.policy import pace
from orchestrator.policy.cohorts import is_going_on
from orchestrator.policy.pricing import Range

# Fields that a wish has under the same name.
_AS_THEY_ARE = frozenset(
    (
        "name", "prompt", "defaults", "variants", "seeds", "sample", "order", "strict", "priority", "max_running",
        "progress_every", "webhook_url", "row_webhooks", "output", "metadata", "run_at", "deadline", "on_deadline",
        "on_miss",
    )
)  # fmt: skip


# ---------------------------------------------------------------- requests


def wish_of(fields: PatchCampaign) -> Wish:
    """What is asked, and which of it was said; null says a default. Raises `InvalidField`."""
    said: dict[str, Any] = {name: getattr(fields, name) for name in fields.model_fields_set & _AS_THEY_ARE}
    if fields.template is not None or "template" in fields.model_fields_set:
        if "prompt" in said:
            raise InvalidField("is short for template.prompt, and is given beside template", param="prompt")
        said |= _template(fields)
    if "budget" in fields.model_fields_set:
        said["budget"] = None if fields.budget is None else _budget(fields.budget)
    if "stop_on_failures" in fields.model_fields_set:
        said["stop"] = None if fields.stop_on_failures is None else _stop(fields.stop_on_failures)
    if "schedule" in fields.model_fields_set:
        said["cron"] = fields.schedule and fields.schedule.cron
        said["time_zone"] = fields.schedule and fields.schedule.time_zone
    if isinstance(fields, CreateCampaign) and fields.approval is not None:
        said["approval"] = fields.approval == "required"
    return Wish(said=frozenset(said), **{name: value for name, value in said.items() if value is not None})


def _template(fields: PatchCampaign) -> dict[str, str | None]:
    given = fields.template
    if given is None:
        return {"prompt": None, "negative_prompt": None}
    return {name: getattr(given, name) for name in given.model_fields_set}


def _budget(fields: BudgetFields) -> BudgetAsk:
    actions = tuple(BudgetAction(percent=each.percent, do=each.do) for each in fields.actions or ())
    return BudgetAsk(amount=fields.amount, unit=fields.unit, actions=actions)


def _stop(fields: StopFields) -> StopRule:
    return StopRule(count=fields.count, share=fields.share, of_first=fields.of_first)


def check_sources(fields: CreateCampaign) -> None:
    """Raise `InvalidField` for what contradicts where the rows come from, or says something of rows that are none."""
    if fields.like is not None:
        for name in ("input", "clone_of", "prompt", "template"):
            if getattr(fields, name) is not None:
                raise InvalidField("is given beside like, which says the same", param=name)
        if fields.format not in (None, "manifest"):
            raise InvalidField("must be left out: like is a manifest", param="format")
    elif fields.format is not None and fields.input is None:
        raise InvalidField("is that of input, which is not given", param="format")


@contextmanager
def blaming(fields: CreateCampaign | PatchCampaign) -> Iterator[None]:
    """Name the fields of errors as the caller wrote them."""
    names: dict[str, str] = {}
    if fields.prompt is not None:
        names["template.prompt"] = "prompt"
    if isinstance(fields, CreateCampaign) and fields.like is not None:
        names["input"] = "like"
    try:
        yield
    except NotFound as error:
        if error.param is None and isinstance(fields, CreateCampaign) and fields.clone_of is not None:
            error.param = "clone_of"
        raise
    except RequestError as error:
        error.param = names.get(error.param or "", error.param)
        raise


def version_of(if_match: str | None) -> int | None:
    """The version that an `If-Match` header asks for; None for any. Raises `InvalidField`.

    Proxies that compress an answer make its tag a weak one, which is meant like the strong one.
    """
    tag = (if_match or "*").strip()
    if tag == "*":
        return None
    digits = tag.removeprefix("W/").removeprefix('"').removesuffix('"')
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 9):
        raise InvalidField("must be the ETag of a campaign", param="If-Match")
    return int(digits)


# ---------------------------------------------------------------- answers


def campaign_of(
    campaign: Campaign,
    settings: Settings,
    known: Known,
    outlook: KeptOutlook | None,
    now: datetime,
    turn: Turn | None = None,
) -> answers.CampaignObject:
    """The campaign as its owner reads it at this moment; with its place in the queue where `turn` says that."""
    return answers.CampaignObject(
        id=campaign.id,
        state=campaign.state,
        pause_reasons=sorted(campaign.pauses),
        version=campaign.version,
        created_at=unix(campaign.created_at),
        started_at=unix(campaign.started_at),
        ended_at=unix(campaign.ended_at),
        run_at=unix(campaign.run_at),
        deadline=unix(campaign.deadline),
        template=answers.Template(prompt=campaign.template.prompt, negative_prompt=campaign.template.negative_prompt),
        template_version=campaign.template.version,
        defaults=campaign.template.defaults,
        priority=campaign.priority,
        max_running=campaign.max_running,
        schedule_of=campaign.schedule_of,
        input=_input(campaign),
        error=None
        if campaign.error is None
        else answers.CampaignError(code=campaign.error.code, message=campaign.error.message),
        counts=counts_of(campaign.tally),
        spent=_spent(campaign, settings),
        plan_token=campaign.plan_token,
        approved_token=campaign.approved_token,
        forecast=forecast_of(campaign, outlook, now),
        manifest=_manifest(campaign),
        waiting_for=waiting_for(campaign, known.loads, known.pauses, now, turn, known.unheld),
        **_asked(campaign),
    )


def _asked(campaign: Campaign) -> dict[str, Any]:
    ask, stop = campaign.ask, asdict(campaign.ask.stop)
    return {
        "name": ask.name,
        "variants": ask.variants,
        "seeds": ask.seeds,
        "sample": ask.sample,
        "order": ask.order,
        "strict": ask.strict,
        "approval": "required" if ask.approval else "none",
        "on_deadline": ask.on_deadline,
        "on_miss": ask.on_miss,
        "budget": None if ask.budget is None else answers.Budget.model_validate(asdict(ask.budget)),
        "stop_on_failures": answers.StopOnFailures(**stop)
        if any(value is not None for value in stop.values())
        else None,
        "progress_every": ask.progress_every,
        "webhook_url": ask.webhook_url,
        "row_webhooks": ask.row_webhooks,
        "output": ask.output,
        "metadata": ask.metadata,
        "schedule": None
        if ask.cron is None or ask.time_zone is None
        else answers.Schedule(cron=ask.cron, time_zone=ask.time_zone),
    }


def _input(campaign: Campaign) -> answers.CampaignInput | None:
    given = campaign.input
    if given is None:
        return None
    return answers.CampaignInput(
        source=given.source, format=given.format, records_read=campaign.records, bytes=given.size
    )


def counts_of(counts: Counts) -> answers.CampaignCounts:
    return answers.CampaignCounts(**asdict(counts), waiting=counts.waiting)


def _spent(campaign: Campaign, settings: Settings) -> answers.CampaignSpent:
    pools = [settings.pools.get(group.pool) for group in campaign.estimate]
    priced = any(pool is not None and pool.price_per_hour is not None for pool in pools)
    return answers.CampaignSpent(
        gpu_seconds=round(campaign.used, 3),
        reserved_gpu_seconds=round(campaign.reserved, 3),
        money=round(campaign.spent, 6) if priced else None,
        currency=settings.billing.currency if priced else None,
    )


def forecast_of(campaign: Campaign, outlook: KeptOutlook | None, now: datetime) -> answers.CampaignForecast | None:
    """When it will be done: as was reckoned for all that there is, else by how fast its rows got done lately.

    None while it does not go on, or too little is known.
    """
    counts = campaign.counts
    if not is_going_on(campaign):
        return None
    running = campaign.state is CampaignState.RUNNING
    lately = pace.forecast(campaign.history, counts.waiting + counts.live, now.timestamp()) if running else None
    if outlook is not None and now - outlook.made_at <= BELIEVED:
        return _reckoned(outlook, None if lately is None else lately.rows_per_hour)
    if lately is None:
        return None
    due = campaign.deadline
    return answers.CampaignForecast(
        rows_per_hour=round(lately.rows_per_hour, 3),
        low_at=int(lately.low_at),
        likely_at=int(lately.likely_at),
        high_at=int(lately.high_at),
        at_risk=None if due is None else due.timestamp() <= lately.high_at,
        made_at=int(now.timestamp()),
        reason=None,
        advice=None,
    )


def _reckoned(outlook: KeptOutlook, rows_per_hour: float | None) -> answers.CampaignForecast:
    return answers.CampaignForecast(
        rows_per_hour=None if rows_per_hour is None else round(rows_per_hour, 3),
        low_at=unix(outlook.low_at),
        likely_at=unix(outlook.likely_at),
        high_at=unix(outlook.high_at),
        at_risk=outlook.at_risk,
        made_at=unix(outlook.made_at),
        reason=outlook.reason,
        advice=outlook.advice,
    )


def _manifest(campaign: Campaign) -> answers.ManifestRevision | None:
    mark = campaign.manifest
    if mark is None:
        return None
    return answers.ManifestRevision(
        revision=mark.revision, final=mark.final, rows=mark.rows, sha256=mark.sha256, key_id=mark.key_id
    )


def plan_of(plan: Plan, settings: Settings) -> answers.CampaignPlan:
    """A plan as its owner reads it."""
    campaign = plan.campaign
    money: Mapping[str, float] | None = None if plan.money is None else _rounded(plan.money, 6)
    assert campaign.plan_token is not None, "what has a plan has its token"
    return answers.CampaignPlan(
        campaign=campaign.id,
        plan_token=campaign.plan_token,
        rows=sum(group.rows for group in plan.groups),
        bad_rows=campaign.counts.bad,
        gpu_seconds=answers.Range(**_rounded(plan.gpu_seconds, 3)),
        money=None if money is None else answers.MoneyRange(**money, currency=settings.billing.currency),
        charge=round(plan.charge, 3),
        hours=answers.Hours(present=plan.hours_present, largest=plan.hours_largest),
        workers=answers.Workers(present=plan.workers_present, largest=plan.workers_largest),
        deadline_holds=plan.deadline_holds,
        pools=_pools(plan),
    )


def _pools(plan: Plan) -> Sequence[answers.PlannedPool]:
    return [
        answers.PlannedPool(pool=g.pool, model=g.model, rows=g.rows, gpu_seconds=round(g.gpu_seconds, 3))
        for g in plan.groups
    ]


def _rounded(found: Range, digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in asdict(found).items()}
