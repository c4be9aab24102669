"""What a worker without keys of S3 may do for a claim: URLs that are signed for it, and newer ones while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from orchestrator.domain.job import Claim
from orchestrator.domain.objects import output_keys
from orchestrator.domain.protocol import Assignment
from orchestrator.ports.objects import Signed

# Keys to read and keys to write -> their URLs. Blocks, for about half a millisecond of CPU a URL.
Sign = Callable[[Collection[str], Collection[str]], Signed]

# Of claims that are signed for at a time: threads are also for others.
_TOGETHER = 4


@dataclass(slots=True)
class ClaimUrls:
    """Signs for claims, and knows when to sign again. Without `sign` workers have keys, and nothing is signed."""

    sign: Sign | None = None
    # In monotonic seconds, by the claim's token: half of the time of its URLs is over.
    _due: dict[UUID, float] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_TOGETHER))

    async def assignment(self, claim: Claim, now: float) -> Assignment:
        """The claim as its worker gets it. Raises `ObjectsUnavailable` when there are no credentials to sign with."""
        assignment = Assignment.of(claim)
        if self.sign is None:
            return assignment
        reads, writes = keys_of(assignment)
        async with self._turns:
            signed = await asyncio.to_thread(self.sign, reads, writes)
        self._due[claim.token] = now + signed.lifetime_s / 2
        return replace(assignment, reads=signed.reads, writes=signed.writes)

    def missed(self, token: UUID) -> None:
        """The newer URLs did not arrive."""
        self._due.pop(token, None)

    def due(self, claims: Iterable[Claim], now: float) -> list[Claim]:
        """Those of all our claims that need newer URLs: also those that an earlier dispatcher signed for."""
        if self.sign is None:
            return []
        ours = {claim.token: claim for claim in claims}
        self._due = {token: at for token, at in self._due.items() if token in ours}
        return [claim for token, claim in ours.items() if now >= self._due.get(token, now)]


def keys_of(assignment: Assignment) -> tuple[list[str], list[str]]:
    """What a claim's worker reads: the picture, an earlier claim's checkpoint, its own outputs; and what it writes."""
    writes = output_keys(assignment.job_id, assignment.claim, assignment.spec.num_inference_steps)
    inputs = [assignment.spec.image, None if assignment.checkpoint is None else assignment.checkpoint.artifact]
    return [*(each.key for each in inputs if each is not None), *writes], writes
