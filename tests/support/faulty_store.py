"""A store behind which a campaign's engine dies, or that is away for a moment, at a call that a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from orchestrator.domain.errors import StoreUnavailable

Fault = Literal["killed before", "killed after", "away before", "away after"]


class Killed(BaseException):
    """The process is gone: nobody tidies up."""


async def _nobody_listens(*_: Any) -> None:
    pass


class FaultyStore:
    """A store, a bucket or whatever else is called. Passes calls on until `choose` names a fault for one; `awaited`
    hears of each that was answered.

    An answer that is lost on its way (`away after`) was a call that has been carried out.
    """

    def __init__(
        self,
        inner: Any,
        choose: Callable[[str], Fault | None],
        awaited: Callable[[str, tuple[Any, ...], Any], Any] = _nobody_listens,
    ) -> None:
        self._inner = inner
        self._choose = choose
        self._awaited = awaited
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name.startswith("_") or not callable(real):
            return real
        return self._calling(name, real) if asyncio.iscoroutinefunction(real) else self._calling_now(name, real)

    def _calling(self, name: str, real: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                if name == "release_campaign":  # who is killed releases nothing
                    return None
                raise Killed
            fault = self._choose(name)
            self._raise(fault, "before")
            found = await real(*args, **kwargs)
            self._raise(fault, "after")
            await self._awaited(name, args, found)
            return found

        return call

    def _calling_now(self, name: str, real: Any) -> Any:
        """What answers at once, or in a thread, or page by page."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Killed
            fault = self._choose(name)
            self._raise(fault, "before")
            found = real(*args, **kwargs)
            self._raise(fault, "after")
            return found

        return call

    def _raise(self, fault: Fault | None, when: str) -> None:
        if fault == f"killed {when}":
            self.dead = True
            raise Killed
        if fault == f"away {when}":
            raise StoreUnavailable("the database is away")
