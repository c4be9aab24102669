"""Filters of jobs as queries and as bodies have them: both become one `JobFilter`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from api.wire.bodies import Integer, Moment, Texts
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.request import MAX_PRIORITY
from orchestrator.domain.states import JobState
from orchestrator.tenants.ledger import read_moment

_TIME = "Unix seconds, a date (its midnight in UTC) or a time with its zone."

State = Annotated[list[JobState] | None, Query(description="Only jobs that stand so; may be said several times.")]
Pool = Annotated[str | None, Query(description="Of this pool alone.")]
Model = Annotated[str | None, Query(description="Of this model alone, by its name in the configuration.")]
Priority = Annotated[
    int | None, Query(ge=0, le=MAX_PRIORITY, description="Of this priority alone; 0 is the most urgent.")
]
CreatedFrom = Annotated[str | None, Query(description=f"Created then or later. {_TIME}")]
CreatedTo = Annotated[str | None, Query(description=f"Created before. {_TIME}")]
EndedFrom = Annotated[str | None, Query(description=f"Ended then or later. {_TIME}")]
EndedTo = Annotated[str | None, Query(description=f"Ended before. {_TIME}")]
Code = Annotated[str | None, Query(description="Failed with this code, such as `worker_lost`.")]
CustomId = Annotated[str | None, Query(description="The last job of the row with this id, of a campaign or a batch.")]
Campaign = Annotated[str | None, Query(description="Rows of this campaign or batch alone.")]
Words = Annotated[str | None, Query(max_length=200, description="In the prompt, whatever its case.")]
Metadata = Annotated[
    list[str] | None, Query(description="`name=value`, as the job's metadata has it; may be said several times.")
]


def _common(
    state: State = None,
    pool: Pool = None,
    model: Model = None,
    priority: Priority = None,
    created_from: CreatedFrom = None,
    created_to: CreatedTo = None,
    ended_from: EndedFrom = None,
    ended_to: EndedTo = None,
    code: Code = None,
    custom_id: CustomId = None,
    campaign: Campaign = None,
) -> JobFilter:
    return JobFilter(
        states=frozenset(state or ()),
        pool=pool,
        model=model,
        priority=priority,
        created_from=read_moment(created_from, "created_from"),
        created_to=read_moment(created_to, "created_to"),
        ended_from=read_moment(ended_from, "ended_from"),
        ended_to=read_moment(ended_to, "ended_to"),
        code=code,
        custom_id=custom_id,
        campaign=campaign,
    )


# What administrators filter by: nothing that a job shows.
Common = Annotated[JobFilter, Depends(_common)]


def _own(common: Common, text: Words = None, metadata: Metadata = None) -> JobFilter:
    return replace(common, text=text or None, metadata=_pairs(metadata or ()))


# What owners filter by.
Own = Annotated[JobFilter, Depends(_own)]


def _pairs(said: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for each in said:
        name, found, value = each.partition("=")
        if not found or not name:
            raise InvalidField("must be name=value", param="metadata")
        pairs[name] = value
    return pairs


class FilterFields(BaseModel):
    """Jobs that are all of this. What is left out is any."""

    model_config = ConfigDict(extra="forbid")

    state: list[JobState] | None = Field(None, max_length=6)
    pool: str | None = None
    model: str | None = None
    priority: Annotated[Integer, Field(ge=0, le=MAX_PRIORITY)] | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None
    ended_from: Moment | None = None
    ended_to: Moment | None = None
    code: str | None = None
    custom_id: str | None = None
    campaign: str | None = None
    text: str | None = Field(None, max_length=200, description="In the prompt, whatever its case.")
    metadata: Texts | None = None

    def wanted(self) -> JobFilter:
        """The filter that they say. Raises `InvalidField`."""
        fields = self.model_dump(exclude={"state", "metadata"}, exclude_none=True)
        return JobFilter(states=frozenset(self.state or ()), metadata=self.metadata or {}, **fields)


class FilterShown(BaseModel):
    """What a filter says; times are Unix seconds, and what it does not say is left out as null."""

    state: list[JobState] = Field(default_factory=list)
    pool: str | None = None
    model: str | None = None
    priority: int | None = None
    created_from: int | None = None
    created_to: int | None = None
    ended_from: int | None = None
    ended_to: int | None = None
    code: str | None = None
    custom_id: str | None = None
    campaign: str | None = None
    text: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


def shown(wanted: JobFilter) -> FilterShown:
    """A filter as answers have it."""
    moments = {
        name: int(value.timestamp())
        for name in ("created_from", "created_to", "ended_from", "ended_to")
        if (value := getattr(wanted, name)) is not None
    }
    said = {
        name: getattr(wanted, name) for name in ("pool", "model", "priority", "code", "custom_id", "campaign", "text")
    }
    return FilterShown(state=sorted(wanted.states), metadata=dict(wanted.metadata), **said, **moments)
