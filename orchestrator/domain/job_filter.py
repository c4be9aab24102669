"""Which jobs are meant: the filters of a list, of its counts, of a saved view and of a bulk action. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.states import JobState
from orchestrator.domain.texts import check_metadata, check_text

_MAX_TEXT = 200
_MAX_NAME = 512
_TEXTS = ("tenant", "pool", "model", "code", "custom_id", "campaign")
_MOMENTS = ("created_from", "created_to", "ended_from", "ended_to")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Jobs that are all of this; None, or nothing, is any. Deleted jobs are never meant."""

    tenant: str | None = None
    states: frozenset[JobState] = frozenset()
    pool: str | None = None
    # A configured model's name.
    model: str | None = None
    priority: int | None = None
    # From the first moment on, and before the second.
    created_from: datetime | None = None
    created_to: datetime | None = None
    ended_from: datetime | None = None
    ended_to: datetime | None = None
    # Of the failure that ended the job.
    code: str | None = None
    # In the prompt, whatever its case.
    text: str | None = None
    # Of a row of a campaign or a batch: the last job that the row had.
    custom_id: str | None = None
    # The campaign or the batch that it is a row of.
    campaign: str | None = None
    # Each of these, whole.
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _TEXTS:
            if (value := getattr(self, name)) is not None:
                check_text(value, name, max_chars=_MAX_NAME)
        check_text(self.text or "", "text", max_chars=_MAX_TEXT)
        check_metadata(self.metadata)
        for begin, end in (("created_from", "created_to"), ("ended_from", "ended_to")):
            first, last = getattr(self, begin), getattr(self, end)
            if first is not None and last is not None and last <= first:
                raise InvalidField(f"must be later than {begin}", param=end)

    def to_dict(self) -> dict[str, Any]:
        """What is asked for, as JSON keeps it."""
        told: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None or value == each.default or (each.name == "metadata" and not value):
                continue
            told[each.name] = _plain(value)
        return told

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> JobFilter:
        """The filter that was kept."""
        values = dict(kept)
        if "states" in values:
            values["states"] = frozenset(JobState(word) for word in values["states"])
        for name in _MOMENTS:
            if name in values:
                values[name] = datetime.fromisoformat(values[name])
        return cls(**values)


def _plain(value: Any) -> Any:
    match value:
        case frozenset():
            return sorted(value)
        case datetime():
            return value.isoformat()
        case Mapping():
            return dict(value)
    return value
