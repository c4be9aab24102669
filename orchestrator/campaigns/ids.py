"""Ids of campaigns as callers give them: what is none, or nobody's, is not found. Pure."""

from __future__ import annotations

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.errors import NotFound

PREFIX = "campaign_"
_HEX = 32


def checked(campaign_id: str) -> str:
    """The same. Raises `NotFound` for what is no campaign's id."""
    if not _is_id(campaign_id):
        raise _not_found(campaign_id)
    return campaign_id


def behind(after: str | None) -> str | None:
    """The same, which a page is to begin behind. Raises `NotFound` for what is no campaign's id."""
    if after is not None and not _is_id(after):
        raise _not_found(after, param="after")
    return after


def found(campaign: Campaign | None, campaign_id: str) -> Campaign:
    """The campaign. Raises `NotFound` where there is none."""
    if campaign is None:
        raise _not_found(campaign_id)
    return campaign


def _is_id(text: str) -> bool:
    rest = text.removeprefix(PREFIX)
    return len(text) == len(PREFIX) + _HEX and len(rest) == _HEX and not set(rest) - set("0123456789abcdef")


def _not_found(campaign_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no campaign with the id {campaign_id[:80]!r}", param=param)
