"""What one process holds for its callers at a time: so much in all, and of that so much for one tenant."""

from __future__ import annotations

import asyncio
from collections import Counter, deque

from orchestrator.domain.errors import Crowded, LimitExceeded

# Others' requests end all the time.
_SOON_S = 1.0


class Room:
    """So much of one thing: requests that are not answered yet, bytes of their bodies, open downloads.

    A tenant that has its share is refused by the limit's name; when all together have everything, so is whoever asks,
    as something that passes.
    """

    def __init__(self, limit: str, *, most: int, of_tenant: int) -> None:
        self.limit = limit
        self._most = most
        self._of_tenant = min(most, of_tenant)
        self._taken = 0
        self._by_tenant: Counter[str] = Counter()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def of(self, tenant: str) -> int:
        """How much of it a tenant holds."""
        return self._by_tenant[tenant]

    def take(self, tenant: str, amount: int = 1) -> None:
        """Raises `LimitExceeded`, or `Crowded` when it is not the tenant's own doing."""
        used = self._by_tenant[tenant]
        if used + amount > self._of_tenant:
            raise LimitExceeded(
                f"a tenant may hold {self._of_tenant} of {self.limit} at once in one process, and {used} are held",
                limit=self.limit,
                retry_after_s=_SOON_S,
                most=self._of_tenant,
                used=used,
            )
        if self._taken + amount > self._most:
            raise Crowded(f"all {self._most} of {self.limit} of this process are taken")
        self._taken += amount
        self._by_tenant[tenant] += amount

    async def wait(self, tenant: str, amount: int, *, within_s: float) -> int:
        """The same, but waits for room; of more than a tenant's share, the share. How much was taken."""
        amount = min(amount, self._of_tenant)
        try:
            async with asyncio.timeout(within_s):
                while not self._fits(tenant, amount):
                    turn = asyncio.get_running_loop().create_future()
                    self._waiting.append(turn)
                    try:
                        await turn
                    finally:
                        if turn in self._waiting:
                            self._waiting.remove(turn)
        except TimeoutError:
            pass
        self.take(tenant, amount)
        return amount

    def give_back(self, tenant: str, amount: int = 1) -> None:
        """Of what was taken."""
        self._taken -= amount
        self._by_tenant[tenant] -= amount
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        # All of them look again: the first may be of a tenant that has its share.
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        self._waiting.clear()

    def _fits(self, tenant: str, amount: int) -> bool:
        return self._by_tenant[tenant] + amount <= self._of_tenant and self._taken + amount <= self._most
