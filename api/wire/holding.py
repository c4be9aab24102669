"""What a request holds of its process until the last byte of its answer is out."""

from __future__ import annotations

from collections import Counter

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.ports import ApiKey
from orchestrator.tenants.room import Room


class Held:
    """What one request has taken, and whose it is once its key is known."""

    def __init__(self) -> None:
        self.tenant = ""
        # Good, with the scope that the request's route names.
        self.key: ApiKey | None = None
        self._taken: Counter[Room] = Counter()
        # Taken for a body before it came.
        self._ahead = 0
        self._body_in: Room | None = None

    def take(self, room: Room, amount: int = 1) -> None:
        """Raises what `Room.take` raises."""
        room.take(self.tenant, amount)
        self._taken[room] += amount

    def give_back(self, room: Room, amount: int | None = None) -> None:
        """Before the end: all of it, or so much as is held."""
        amount = self._taken[room] if amount is None else min(amount, self._taken[room])
        self._taken[room] -= amount
        room.give_back(self.tenant, amount)

    async def expect_body(self, room: Room, size: int, *, within_s: float) -> None:
        """Wait for room for a body that is announced. Raises what `Room.take` raises."""
        self._ahead = await room.wait(self.tenant, size, within_s=within_s)
        self._taken[room] += self._ahead

    def receive_body(self, room: Room, size: int) -> None:
        """A piece has come. Raises what `Room.take` raises."""
        due = max(0, size - self._ahead)
        self._ahead -= size - due
        self.take(room, due)
        self._body_in = room

    def write_body(self, size: int) -> None:
        """So much of what has come is on the disk, and not in memory any more."""
        if self._body_in is not None:
            self.give_back(self._body_in, size)

    def end(self) -> None:
        """Give everything back."""
        for room in list(self._taken):
            self.give_back(room)


class Holding:
    """Around every request: `scope["state"]["held"]` is what it holds, and given back whatever happens."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = scope.setdefault("state", {})["held"] = Held()
        try:
            await self._app(scope, receive, send)
        finally:
            held.end()


def held(request: Request) -> Held:
    """What a request holds."""
    found: Held = request.state.held
    return found
