"""What requests about campaigns may say. `campaign_answers.py` has what they are answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.wire.bodies import Integer, Moment, Number, Texts
from orchestrator.campaigns.reading.formats import Format

Order = Literal["arrival", "spread"]
OnDeadline = Literal["continue", "stop"]
OnMiss = Literal["refuse", "warn"]
Approval = Literal["required", "none"]

CREATE_EXAMPLES: dict[str, JsonValue] = {
    "a file of rows": {
        "name": "autumn mugs",
        "prompt": "a {product} on a {scene}, morning light",
        "input": "file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
        "sample": 12,
        "deadline": "2026-12-02T06:00:00Z",
    },
    "a draft": {"name": "autumn mugs", "prompt": "a {product} on a {scene}"},
    "everything": {
        "name": "autumn mugs",
        "template": {"prompt": "a {product} on a {scene}", "negative_prompt": "people, {avoid}"},
        "defaults": {"model": "cogvideox-2b", "size": "720x480", "seconds": "6", "profile": "exact"},
        "input": "s3://cogmill/imports/acme/mugs.csv",
        "format": "csv",
        "variants": 2,
        "seeds": [7, 8],
        "sample": 12,
        "order": "spread",
        "strict": False,
        "approval": "required",
        "priority": 20,
        "max_running": 100,
        "budget": {
            "amount": 500.0,
            "unit": "money",
            "actions": [{"percent": 80, "do": "tell"}, {"percent": 100, "do": "finish"}],
        },
        "stop_on_failures": {"count": 500, "share": 0.5, "of_first": 20},
        "progress_every": 10,
        "webhook_url": "https://example.org/hooks/campaigns",
        "row_webhooks": False,
        "output": "s3://cogmill/exports/acme/mugs/{custom_id}.mp4",
        "metadata": {"season": "autumn"},
        "run_at": "2026-12-01T18:00:00Z",
        "deadline": "2026-12-02T06:00:00Z",
        "on_deadline": "continue",
        "on_miss": "refuse",
        "schedule": {"cron": "0 18 * * 1-5", "time_zone": "Europe/Berlin"},
    },
    "like another": {"clone_of": "campaign_0199c3a57be47c21b1f3a1d3c5e7f901"},
    "as a manifest says": {"like": "file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a"},
}


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TemplateFields(_Fields):
    """What the prompts of all rows are made of: texts with `{variables}`, which each row fills."""

    prompt: str | None = Field(None, description="Left out where each row brings its own prompt.")
    negative_prompt: str | None = None


class BudgetActionFields(_Fields):
    percent: Integer
    do: Literal["tell", "finish", "cancel"] = Field(
        description="`tell`: a webhook. `finish`: nothing more begins. `cancel`: what runs is stopped, too."
    )


class BudgetFields(_Fields):
    """What may be spent: every row is reserved for before it is rendered."""

    amount: Number
    unit: Literal["gpu_seconds", "money"]
    actions: list[BudgetActionFields] | None = Field(None, description="At most 10.")


class StopFields(_Fields):
    """Failures that pause the campaign: more than `count`, or more than `share` of the first `of_first` rows."""

    count: Integer | None = None
    share: Number | None = None
    of_first: Integer | None = None


class ScheduleFields(_Fields):
    """When another campaign like this one is made, again and again."""

    cron: str = Field(description="Minute, hour, day of the month, month, day of the week.")
    time_zone: str = Field(description="Such as `Europe/Berlin`.")


class PatchCampaign(_Fields):
    """What is to be otherwise. What is left out stays; null takes a field back to its default, or to none."""

    name: str | None = Field(None, description="For people to read.")
    prompt: str | None = Field(None, description="Short for `template.prompt`.")
    template: TemplateFields | None = None
    defaults: dict[str, Any] | None = Field(
        None, description="Parameters of a video, as `/v1/videos` takes them, where a row says nothing."
    )
    sample: Integer | None = Field(None, description="Rows to render before the rest is approved.")
    order: Order | None = Field(
        None,
        description="`spread` goes from coarse to fine, so that whatever is done at any moment is a fair sample.",
    )
    priority: Integer | None = Field(
        None, description="0, the most urgent, to 100; a limit of the tenant says how urgent it may be, usually 10."
    )
    max_running: Integer | None = Field(None, description="Rows in the queue and on workers at a time.")
    budget: BudgetFields | None = None
    stop_on_failures: StopFields | None = None
    progress_every: Integer | None = Field(None, description="Percent of the rows between two webhooks; 0 is never.")
    webhook_url: str | None = Field(None, description="Called, signed, when the campaign gets somewhere.")
    row_webhooks: bool | None = Field(None, description="Also when one of its videos ends.")
    metadata: Texts | None = Field(None, description="At most 16 texts of your own.")
    run_at: Moment | None = Field(None, description="Nothing is rendered before then.")
    deadline: Moment | None = Field(None, description="By when all should be done.")
    on_deadline: OnDeadline | None = Field(
        None, description="What is done behind it: go on, or end with what is there."
    )
    on_miss: OnMiss | None = Field(
        None,
        description="What becomes of an approval when even the early end of the forecast lies behind the deadline: "
        "`refuse` it, or `warn` (the default), which is told as `at_risk`.",
    )
    schedule: ScheduleFields | None = None


class CreateCampaign(PatchCampaign):
    """Many videos under one template, one budget and one deadline. What is left out, or null, takes its default."""

    input: str | None = Field(
        None,
        description="Where the rows are: an uploaded file's id, or an `s3://` address in this deployment's bucket. "
        "Without it there is a draft, which rows are sent to.",
    )
    format: Format | None = Field(None, description="Of the input; told by how it begins when it is left out.")
    variants: Integer | None = Field(None, description="Videos for each row, with seeds of their own.")
    seeds: list[Integer] | None = Field(None, description="Of the variants.")
    strict: bool | None = Field(None, description="One bad row refuses them all.")
    approval: Approval | None = Field(
        None, description="`none`: it is rendered without anybody's look at the plan and the sample."
    )
    output: str | None = Field(
        None,
        description="Where the videos are delivered: `s3://` in this deployment's bucket, with `{custom_id}` and "
        "`{place}`.",
    )
    clone_of: str | None = Field(
        None, description="A campaign whose template, settings and input this one has, where it says nothing."
    )
    like: str | None = Field(
        None, description="An uploaded manifest: its rows are rendered again, with their prompts and seeds."
    )


class IngestCampaign(_Fields):
    """Which rows a draft takes in."""

    input: str | None = Field(None, description="A file's id or an `s3://` address; absent: what was uploaded.")
    format: Format | None = Field(None, description="Told by how it begins when it is left out.")


class ApproveCampaign(_Fields):
    plan_token: str = Field(description="Of the plan that was looked at.")


_Rows = Annotated[list[str], Field(description="By their `custom_id`s.")]


class RejectRows(_Fields):
    """Rows that will not do."""

    rows: _Rows
    do: Literal["new_seed", "drop"] = Field(
        description="Render them again with other seeds, which is for rows of the sample alone, or leave them out."
    )


class PauseCampaign(_Fields):
    reason: str | None = Field(None, max_length=200, description="Told in the webhook `campaign.paused`.")


class ChooseRows(_Fields):
    """Rows that failed: all of them, those that are named, or those that failed with a code."""

    rows: _Rows | None = None
    code: str | None = Field(None, description="Of their errors.")


class PromoteRows(_Fields):
    """Rows to render again in full, with the seeds that they had: all that succeeded, or those that are named."""

    rows: _Rows | None = None
    profile: Literal["exact", "fast"] | None = Field(None, description="`exact` when it is left out.")
