"""Listings, in both dialects: their queries, and their pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, Self, TypeVar

from fastapi import Query
from pydantic import BaseModel

Limit = Annotated[int, Query(ge=1, le=100, description="How many on a page.")]
After = Annotated[str | None, Query(description="The last id of the page before.")]
Order = Annotated[Literal["asc", "desc"], Query(description="By creation; `desc` begins at the newest.")]


class Identified(BaseModel):
    """What a page can hold."""

    id: str


Item = TypeVar("Item", bound=Identified)


class Listing(BaseModel, Generic[Item]):
    """A page; the next one begins after `last_id` when `has_more`."""

    object: Literal["list"] = "list"
    data: Sequence[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, items: Sequence[Item], *, has_more: bool) -> Self:
        """The page of these."""
        first, last = (items[0].id, items[-1].id) if items else (None, None)
        return cls(data=items, first_id=first, last_id=last, has_more=has_more)
