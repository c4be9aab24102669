"""What requests about a campaign's rows are answered: rows, what came of them, and who vouches for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from api.native.campaign_answers import CAMPAIGN_EXAMPLE

RowState = Literal["waiting", "held", "queued", "running", "succeeded", "failed", "cancelled", "dropped", "waived"]

ROW_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.row",
    "custom_id": "mug-7",
    "line": 8,
    "place": 6,
    "state": "succeeded",
    "video_id": "video_0199c3a57be47c21b1f3a1d3c5e7f944",
    "variables": {"product": "red mug", "scene": "table"},
    "parameters": {"size": "720x480"},
    "prompt": "a red mug on a table, morning light",
    "seed": 2903401187,
    "template_version": 1,
    "attempts": 1,
    "gpu_seconds": 44.9,
    "error": None,
    "flags": [],
    "result": {
        "key": "videos/0199c3a57be47c21b1f3a1d3c5e7f944/1/video.mp4",
        "size": 1204224,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "model": "cogvideox-5b",
        "revision": "8fc5b281006c8b82d14c0b2f4c1a0e4c8f6fa1d3",
        "profile": "exact",
        "numerics": "h200-bf16-3f",
        "continuity": "whole",
    },
}
ROWS_EXAMPLE: dict[str, JsonValue] = {
    "object": "list",
    "data": [ROW_EXAMPLE],
    "first_id": "6",
    "last_id": "6",
    "has_more": True,
}
SIGNATURE_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.manifest_signature",
    "campaign": CAMPAIGN_EXAMPLE["id"],
    "revision": 2,
    "final": False,
    "rows": 4000,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "algorithm": "Ed25519",
    "key_id": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    "signature": "8dd0mQ3Xq3rFMVBJBLmUkI1b3bBqOaZqCxzUBaBOgJcJmn3gX1mAfnEoPZ5nRS1bO7TqKkqWQzuX8n0qTgYFAA==",
}


class RowError(BaseModel):
    """Why a row has no video; `code` is stable."""

    code: str
    message: str


class RowResult(BaseModel):
    """The video of a row, and what made it."""

    key: str
    size: int
    sha256: str
    model: str | None
    revision: str | None
    profile: str | None
    numerics: str | None
    continuity: str | None


class RowObject(BaseModel):
    """One wish, known by its `custom_id` whatever becomes of its attempts."""

    object: Literal["campaign.row"] = "campaign.row"
    custom_id: str
    line: int = Field(description="Of the input, from 1; variants share it.")
    place: int = Field(description="Among the rows, from 0.")
    state: RowState
    video_id: str | None = Field(description="Of its last job.")
    variables: Mapping[str, Any]
    parameters: Mapping[str, Any] = Field(description="Of the video, the campaign's defaults among them.")
    prompt: str | None = Field(description="As it is rendered, or will be by the template as it is now.")
    seed: int
    template_version: int | None = Field(description="Of the template that made its video; null until one did.")
    attempts: int
    gpu_seconds: float
    error: RowError | None
    flags: Sequence[str] = Field(description="Why somebody should look at its video.")
    result: RowResult | None


class RowList(BaseModel):
    """A page of rows; the next one begins after `last_id` when `has_more`, also where a filter has left none here."""

    object: Literal["list"] = "list"
    data: Sequence[RowObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ManifestSignatureObject(BaseModel):
    """A detached signature: Ed25519 over the canonical JSON of `campaign`, `final`, `key_id`, `revision`, `rows` and
    `sha256`, which is that of the whole file.
    """

    object: Literal["campaign.manifest_signature"] = "campaign.manifest_signature"
    campaign: str
    revision: int
    final: bool
    rows: int
    sha256: str
    algorithm: Literal["Ed25519"] = "Ed25519"
    key_id: str = Field(description="Of the key in `/.well-known/jwks.json`.")
    signature: str = Field(description="64 bytes in base 64.")
