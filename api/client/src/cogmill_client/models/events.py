"""What the event streams tell, one class for each kind of event; `id` is where to take the stream up again."""

from __future__ import annotations

from typing import Any, Literal

from cogmill_client.models.base import Answer, Deleted
from cogmill_client.models.campaigns import Campaign, Counts, Forecast
from cogmill_client.models.videos import Video


class Event(Answer):
    """Any event; `kind` says which. Kinds that a newer server adds come as `OtherEvent`."""

    id: str | None
    kind: str


class AttemptEvent(Event):
    """An attempt has begun or ended; `ended` is how earlier ones ended."""

    kind: Literal["attempt"] = "attempt"
    attempt: int
    attempts: int
    max_attempts: int
    ended: list[dict[str, Any]]


class StageEvent(Event):
    """The video is somewhere else."""

    kind: Literal["stage"] = "stage"
    stage: str
    attempt: int


class StepEvent(Event):
    """More denoise steps are done; `progress` is in percent."""

    kind: Literal["step"] = "step"
    step: int
    steps: int
    progress: int


class PreviewEvent(Event):
    """A frame of what is coming, at a signed URL."""

    kind: Literal["preview"] = "preview"
    url: str
    content_type: str


class IncidentEvent(Event):
    """Something befell the render, which goes on."""

    kind: Literal["incident"] = "incident"
    incident: str
    attempt: int


class QueueEvent(Event):
    """Why no worker takes the video, or None again."""

    kind: Literal["queue"] = "queue"
    queue_reason: str | None


class EndEvent(Event):
    """The video has ended, or was deleted."""

    kind: Literal["end"] = "end"
    video: Video | Deleted


class OtherEvent(Event):
    """A kind of event that this release does not know."""

    data: Any


class CampaignStateEvent(Event):
    """The campaign is in another state."""

    kind: Literal["state"] = "state"
    state: str
    pause_reasons: tuple[str, ...] = ()
    waiting_for: str | None = None


class CampaignCountsEvent(Event):
    """Rows have ended or begun."""

    kind: Literal["counts"] = "counts"
    counts: Counts
    rows_per_hour: float | None = None
    forecast: Forecast | None = None


class CampaignEndEvent(Event):
    """The campaign has ended; a retry may wake it again. `campaign` is None where the server does not say it whole."""

    kind: Literal["end"] = "end"
    campaign: Campaign | None = None


VideoEvent = AttemptEvent | StageEvent | StepEvent | PreviewEvent | IncidentEvent | QueueEvent | EndEvent | OtherEvent
CampaignEvent = CampaignStateEvent | CampaignCountsEvent | CampaignEndEvent | OtherEvent

_OF_VIDEOS: dict[str, type[Event]] = {
    "attempt": AttemptEvent,
    "stage": StageEvent,
    "step": StepEvent,
    "preview": PreviewEvent,
    "incident": IncidentEvent,
    "queue": QueueEvent,
}
_OF_CAMPAIGNS: dict[str, type[Event]] = {"state": CampaignStateEvent, "counts": CampaignCountsEvent}


def video_event(kind: str, event_id: str | None, data: Any) -> Any:
    """The typed event. Raises `ValueError` for data that is not what such an event has."""
    if kind == "end":
        return EndEvent.model_validate({"id": event_id, "video": data})
    return _known(_OF_VIDEOS, kind, event_id, data)


def campaign_event(kind: str, event_id: str | None, data: Any) -> Any:
    """The typed event. Raises `ValueError` for data that is not what such an event has."""
    if kind == "end":
        whole = isinstance(data, dict) and data.get("object") == "campaign"
        return CampaignEndEvent.model_validate({"id": event_id, "campaign": data if whole else None})
    return _known(_OF_CAMPAIGNS, kind, event_id, data)


def _known(kinds: dict[str, type[Event]], kind: str, event_id: str | None, data: Any) -> Event:
    if (known := kinds.get(kind)) is None or not isinstance(data, dict):
        return OtherEvent(id=event_id, kind=kind, data=data)
    return known.model_validate({**data, "id": event_id, "kind": kind})
