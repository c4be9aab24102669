"""Listings, page after page, as one iteration."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel

from cogmill_client.effects import Item, Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.base import Answer

M = TypeVar("M", bound=BaseModel)
_PAGE = 100


class _Page(Answer, Generic[M]):
    data: list[M]
    has_more: bool
    last_id: str | None = None


def listed(
    path: str, model: type[M], query: tuple[tuple[str, str | int], ...] = (), *, limit: int | None, after: str | None
) -> Items[M]:
    """Each item of a listing; at most `limit`, from behind the id `after`."""
    return Items(_pages(path, model, query, limit, after))


def _pages(
    path: str, model: type[M], query: tuple[tuple[str, str | int], ...], limit: int | None, after: str | None
) -> Steps[None]:
    read = reads(_Page[model])  # type: ignore[valid-type]
    left = limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        behind = () if after is None else (("after", after),)
        page = yield from answer_of(Request(method="GET", url=path, query=(*query, ("limit", size), *behind)), read)
        for item in page.data:
            yield Item(item)
        left = None if left is None else left - len(page.data)
        # A page that a filter has left empty is not the last one.
        if not page.has_more or page.last_id is None or page.last_id == after:
            return
        after = page.last_id
