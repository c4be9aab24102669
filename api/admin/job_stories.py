"""A job whole, as administrators read it: what befell it and why it waits, and nothing that it shows."""

from __future__ import annotations

from pydantic import Field, JsonValue

from api.admin.job_answers import JOB_EXAMPLE, JobObject, job_of
from api.native import job_answers
from api.native.job_answers import HappeningObject, Reason, SpanObject, UsedObject, life_of
from orchestrator.intake.job_search import JobStory

STORY_EXAMPLE: dict[str, JsonValue] = {
    **JOB_EXAMPLE,
    **{name: job_answers.STORY_EXAMPLE[name] for name in ("made_by", "waits", "spans", "happenings", "usage")},
}


class JobStoryObject(JobObject):
    """A job whole."""

    made_by: str | None = Field(description="The id of the key that asked for it.")
    waits: list[Reason] = Field(description="Why it waits: what must change first comes first.")
    spans: list[SpanObject] = Field(description="Its life in stretches, in order.")
    happenings: list[HappeningObject]
    usage: list[UsedObject]


def story_of(story: JobStory) -> JobStoryObject:
    """A job's object, whole."""
    row = job_of(story.seen)
    shown = {name: getattr(row, name) for name in JobObject.model_fields}
    return JobStoryObject(**shown, made_by=story.made_by, **life_of(story))
