"""What the tests of bad items are made of: two items, of which one breaks whatever meets it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

BAD, GOOD = "bad", "good"


class Broken(Exception):
    """Nobody foresaw it."""


def fake(**parts: Any) -> Any:
    return cast(Any, SimpleNamespace(**parts))


class Done:
    """Notes what was done, and breaks at what is bad."""

    def __init__(self, bad: object = BAD) -> None:
        self.bad = bad
        self.saw: list[Any] = []

    async def __call__(self, item: Any, *_: object, **__: object) -> Any:
        if item == self.bad:
            raise Broken(item)
        self.saw.append(item)
        return True
