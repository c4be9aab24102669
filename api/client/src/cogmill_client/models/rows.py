"""A campaign's plan, its rows, and what comes of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cogmill_client.models.base import Answer, OrNewer, Problem

RowState = Literal["waiting", "held", "queued", "running", "succeeded", "failed", "cancelled", "dropped", "waived"]


class Range(Answer):
    """What is expected, with its bounds."""

    low: float
    likely: float
    high: float


class MoneyRange(Range):
    """The same in money."""

    currency: str


class Fleets(Answer):
    """A number for the fleet as it is, and for the largest that it may be."""

    present: float | None
    largest: float | None


class Workers(Answer):
    """How many workers those are."""

    present: int
    largest: int


class PlanPool(Answer):
    """What of it goes to one pool."""

    pool: str
    model: str
    rows: int
    gpu_seconds: float


class Plan(Answer):
    """What the campaign will render, and what that costs; approving names the token."""

    object: Literal["campaign.plan"]
    campaign: str
    plan_token: str
    rows: int
    bad_rows: int
    gpu_seconds: Range
    money: MoneyRange | None
    hours: Fleets
    workers: Workers
    deadline_holds: bool | None
    pools: list[PlanPool]
    # What fair shares and daily limits will count; 0 of earlier servers, which do not say.
    charge: float = 0.0


class RowResult(Answer):
    """The video of a row that succeeded."""

    key: str
    size: int
    sha256: str
    model: str | None
    revision: str | None
    profile: str | None
    numerics: str | None
    continuity: str | None


class Row(Answer):
    """One wish, known by its `custom_id` whatever becomes of its attempts."""

    object: Literal["campaign.row"]
    custom_id: str
    line: int
    place: int
    state: Annotated[RowState, OrNewer]
    video_id: str | None
    variables: dict[str, Any]
    parameters: dict[str, Any]
    prompt: str | None
    seed: int
    template_version: int | None
    attempts: int
    gpu_seconds: float
    error: Problem | None
    flags: list[str]
    result: RowResult | None


class BadRow(Answer):
    """A record of the input that is no row."""

    line: int
    custom_id: str | None
    field: str | None
    code: str
    reason: str


class Upload(Answer):
    """Where the rows may be put with one PUT, without a key."""

    object: Literal["campaign.upload"]
    url: str
    method: Annotated[Literal["PUT"], OrNewer]
    expires_at: int


class ManifestSignature(Answer):
    """The detached signature of a manifest, in base64."""

    object: Literal["campaign.manifest_signature"]
    campaign: str
    revision: int
    final: bool
    rows: int
    sha256: str
    algorithm: Annotated[Literal["Ed25519"], OrNewer]
    key_id: str
    signature: str


class Link(Answer):
    """Where a row's video may be fetched for a while, without a key."""

    custom_id: str
    url: str
    sha256: str
    size: int
    expires_at: int
