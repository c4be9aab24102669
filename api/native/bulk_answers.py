"""Bodies of actions on many jobs: how they are asked for, and how far they have come."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.native.job_answers import CountObject
from api.native.job_queries import FilterFields, FilterShown, shown
from api.native.saved_filters import FILTER
from api.wire.bodies import Integer
from api.wire.docs import Body
from api.wire.paging import Identified, Listing
from api.wire.replies import unix
from orchestrator.domain.bulk import BulkState, Verb
from orchestrator.domain.request import MAX_PRIORITY
from orchestrator.ports.bulk import Bulk
from orchestrator.ports.job_search import Count

EXAMPLE: dict[str, JsonValue] = {
    "id": "bulk_019a2f6c5d3e7b1c8f4a9e2d6b0c1a53",
    "object": "bulk_action",
    "action": "retry",
    "tenant": "acme",
    "filter": FILTER,
    "priority": None,
    "state": "running",
    "asked_by": "acme/console (key cgm_Zk41mP0aQe8RtUv3)",
    "asked_at": 1758941485,
    "ended_at": None,
    "expected": {"count": 12000, "about": True},
    "matched": 4000,
    "done": 3980,
    "skipped": {"row_of_campaign": 18},
    "failed": {"unknown_model": 2},
    "examples": [
        {"job": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a", "code": "unknown_model", "message": "there is no such model"}
    ],
    "waits_for": None,
}
PREVIEW: dict[str, JsonValue] = {
    "object": "bulk_action.preview",
    "action": "retry",
    "expected": {"count": 3, "about": False},
}


class BulkFailure(BaseModel):
    """A job that it could not be done to, and why."""

    job: str
    code: str
    message: str


class BulkObject(Identified):
    """An action on all jobs that matched when it was asked for, and how far it has come."""

    object: Literal["bulk_action"] = "bulk_action"
    action: Verb
    tenant: str | None = Field(description="Whose jobs; null: every tenant's, as only an administrator may ask.")
    filter: FilterShown
    priority: int | None
    state: BulkState
    asked_by: str
    asked_at: int
    ended_at: int | None
    expected: CountObject = Field(description="Jobs that matched when it was asked for, as they were counted then.")
    matched: int = Field(description="Jobs that it has come to.")
    done: int
    skipped: dict[str, int] = Field(
        description="Passed over, by the state that they are in by now, `changed_meanwhile` or `row_of_campaign`."
    )
    failed: dict[str, int] = Field(description="Refused, by the code of the error.")
    examples: list[BulkFailure] = Field(description="Some of those, at most 20.")
    waits_for: str | None = Field(description="Why it rests for a while, such as a limit of the tenant's.")


class BulkList(Listing[BulkObject]):
    """A page of actions, newest first."""


class BulkPreview(BaseModel):
    """What it would be done to; nothing was begun."""

    object: Literal["bulk_action.preview"] = "bulk_action.preview"
    action: Verb
    expected: CountObject


class CreateBulk(BaseModel):
    """What is to be done, and to which jobs."""

    model_config = ConfigDict(extra="forbid")

    action: Verb
    filter: FilterFields = Field(description="Which jobs; `{}` is all that it can be done to.")
    priority: Annotated[Integer, Field(ge=0, le=MAX_PRIORITY)] | None = Field(
        None, description="The new one, with the action `priority`; 0 goes first."
    )
    dry_run: bool = Field(False, description="Begin nothing, and say to how many jobs it would be done.")


class CreateBulkOfAny(CreateBulk):
    """The same of any tenant's jobs."""

    tenant: str | None = Field(None, max_length=64, description="Of this tenant alone; left out, of all.")


_EXAMPLES: dict[str, JsonValue] = {
    "retry": {"action": "retry", "filter": {"state": ["failed"], "code": "worker_lost"}},
    "dry run": {"action": "cancel", "filter": {"pool": "main"}, "dry_run": True},
    "priority": {"action": "priority", "filter": {"metadata": {"team": "news"}}, "priority": 20},
}
READS = Body(fields=CreateBulk, examples=_EXAMPLES)
READS_OF_ANY = Body(
    fields=CreateBulkOfAny, examples={"cancel": {"action": "cancel", "tenant": "acme", "filter": {"pool": "main"}}}
)


def bulk_of(bulk: Bulk) -> BulkObject:
    """An action's object."""
    return BulkObject(
        id=bulk.id,
        action=bulk.verb,
        tenant=bulk.wanted.tenant,
        filter=shown(bulk.wanted),
        priority=bulk.priority,
        state=bulk.state,
        asked_by=bulk.asked_by,
        asked_at=unix(bulk.asked_at),
        ended_at=unix(bulk.ended_at),
        expected=_count(bulk.expected),
        matched=bulk.matched,
        done=bulk.done,
        skipped=dict(bulk.skipped),
        failed=dict(bulk.failed),
        examples=[BulkFailure(**each) for each in bulk.examples],
        waits_for=bulk.waits_for,
    )


def preview_of(verb: Verb, expected: Count) -> BulkPreview:
    """What a dry run says."""
    return BulkPreview(action=verb, expected=_count(expected))


def _count(count: Count) -> CountObject:
    return CountObject(count=count.count, about=count.about)
