"""A tenant's keys, with one that has the scope `keys`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cogmill_client.effects import Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.keys import Key, KeyWithSecret
from cogmill_client.paging import listed
from cogmill_client.urls import at, without_none


def create(
    *,
    name: str = "",
    scopes: Sequence[str] | None = None,
    allow: Sequence[str] | None = None,
    expires_at: datetime | int | None = None,
) -> Steps[KeyWithSecret]:
    """Make a key. What is None is as with the key that makes it, which can give no more than it has.

    The answer has the whole key, for the only time.
    """
    fields = without_none(
        name=name,
        scopes=None if scopes is None else list(scopes),
        allow=None if allow is None else list(allow),
        expires_at=expires_at,
    )
    return answer_of(_once("/v1/keys", fields), reads(KeyWithSecret))


def retrieve(key_id: str) -> Steps[Key]:
    """What is known of a key; its id is the part before the dot."""
    return answer_of(Request(method="GET", url=at("/v1/keys/{}", key_id)), reads(Key))


def list_(*, limit: int | None = None, after: str | None = None) -> Items[Key]:
    """All keys, the newest first, revoked and expired ones among them."""
    return listed("/v1/keys", Key, limit=limit, after=after)


def rotate(
    key_id: str, *, overlap_s: float | None = None, expires_at: datetime | int | None = None
) -> Steps[KeyWithSecret]:
    """Make a key in the place of another, which goes on for `overlap_s` seconds, a day unless told otherwise.

    The answer has the whole new key, for the only time.
    """
    fields = without_none(overlap_s=overlap_s, expires_at=expires_at)
    return answer_of(_once(at("/v1/keys/{}/rotate", key_id), fields), reads(KeyWithSecret))


def revoke(key_id: str, *, descendants: bool = False) -> Steps[Key]:
    """End a key for good; with `descendants` also what it made, and what that made."""
    request = Request(method="POST", url=at("/v1/keys/{}/revoke", key_id), json={"descendants": descendants})
    return answer_of(request, reads(Key))


def _once(url: str, fields: Mapping[str, Any]) -> Request:
    # Not tried again where nobody knows what became of it. The server keeps neither whole keys nor idempotency keys of
    # these, and could not give its first answer once more: there would be two keys, of which nobody has seen the first.
    return Request(method="POST", url=url, json=fields, repeatable=False)
