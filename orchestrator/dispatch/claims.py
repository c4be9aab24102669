"""The claims that a dispatcher's workers hold: how old they are, what is written of them, and which are to leave.

No I/O: it is told what the database and the workers say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from orchestrator.domain.job import Claim
from orchestrator.domain.protocol import RenderStatus, WorkerStatus
from orchestrator.domain.timeline import ASSIGNMENT, CLAIM, Timeline, shifted
from orchestrator.policy import charge
from orchestrator.ports import Progress


class Reading:
    """A reading of the database's running claims, under way. What is claimed or settled meanwhile is newer than it."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._before = set(claims.by_token)
        self.dropped: set[UUID] = set()

    def reconcile(self, running: Sequence[Claim], now: float) -> None:
        """Make the claims agree with what was read."""
        for token in self._before - {claim.token for claim in running}:
            self._claims.drop(token)
        fresh = [claim for claim in running if claim.token not in self._claims.by_token.keys() | self.dropped]
        self._claims.hold(fresh, now)


@dataclass(slots=True)
class Claims:
    """The claims of one cluster, as its dispatcher sees them. Times are the dispatcher's monotonic seconds."""

    by_token: dict[UUID, Claim] = field(default_factory=dict)
    # Tokens of those that have been asked to leave their worker.
    leaving: set[UUID] = field(default_factory=set)
    _claimed_at: dict[UUID, float] = field(default_factory=dict)
    # Tokens by the name of their worker.
    _held_by: defaultdict[str, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    # GPU seconds that each render has cost, as far as its worker has said.
    _used: dict[UUID, float] = field(default_factory=dict)
    # Seconds for which each render has held a finisher, as far as its worker has said.
    _finishing: dict[UUID, float] = field(default_factory=dict)
    # What each has gone through, in seconds since its claim: here, and as far as its worker has said.
    _claim_s: dict[UUID, float] = field(default_factory=dict)
    _assignments: dict[UUID, Timeline] = field(default_factory=dict)
    _seen: dict[UUID, tuple[float, Timeline]] = field(default_factory=dict)
    # What is in the database of where each render stands.
    _written: dict[UUID, Progress] = field(default_factory=dict)
    _readings: list[Reading] = field(default_factory=list)

    def hold(self, claims: Iterable[Claim], now: float) -> None:
        """Remember claims that our workers own; their age counts from now less `age_s`."""
        for claim in claims:
            self.by_token[claim.token] = claim
            self._claimed_at[claim.token] = now - claim.age_s
            self._held_by[claim.worker.name].add(claim.token)

    def drop(self, token: UUID) -> None:
        """A claim is settled, here or elsewhere."""
        claim = self.by_token.pop(token, None)
        if claim is not None:
            self._held_by[claim.worker.name].discard(token)
            del self._claimed_at[token]
            self._written.pop(token, None)
            self._used.pop(token, None)
            self._finishing.pop(token, None)
            self._claim_s.pop(token, None)
            self._assignments.pop(token, None)
            self._seen.pop(token, None)
            self.leaving.discard(token)
        for reading in self._readings:
            reading.dropped.add(token)

    def heard(self, status: WorkerStatus, now: float) -> None:
        """A worker has said what its renders have taken so far, of its GPU and of its finishers."""
        for render in status.renders:
            if render.token in self.by_token:
                self._used[render.token] = render.gpu_seconds
                self._finishing[render.token] = charge.finishing_s(render.stages)
                # Its clock's beginning on ours.
                since_s = now - render.age_s - self._claimed_at[render.token]
                self._seen[render.token] = since_s, render.periods

    def used(self, token: UUID) -> float:
        """GPU seconds that a claim's render has cost, as far as its worker has said."""
        return self._used.get(token, 0.0)

    def finishing_s(self, token: UUID) -> float:
        """Seconds for which a claim's render has held a finisher, as far as its worker has said."""
        return self._finishing.get(token, 0.0)

    def claimed(self, claims: Iterable[Claim], took_s: float) -> None:
        """These were claimed by a statement that took so long; they are held from its end on."""
        self._claim_s.update((claim.token, took_s) for claim in claims)

    def assigned(self, token: UUID, start_s: float, seconds: float) -> None:
        """A claim's assignment was sent at an age, and answered."""
        if token in self.by_token:
            self._assignments[token] = ((ASSIGNMENT, start_s, seconds),)

    def timeline(self, token: UUID) -> Timeline:
        """What a claim has gone through, as far as anybody has said."""
        claim_s = self._claim_s.get(token)
        since_s, periods = self._seen.get(token, (0.0, ()))
        held_s = claim_s or 0.0
        claim = () if claim_s is None else ((CLAIM, 0.0, claim_s),)
        assignment = shifted(self._assignments.get(token, ()), held_s)
        return (*shifted(claim, 0.0), *assignment, *shifted(periods, held_s + since_s))

    def age_s(self, token: UUID, now: float) -> float:
        """Seconds since a claim of ours; 0 of any other."""
        return now - self._claimed_at.get(token, now)

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Open before the database is asked for the running claims, reconciled with its answer."""
        reading = Reading(self)
        self._readings.append(reading)
        try:
            yield reading
        finally:
            self._readings.remove(reading)

    def held_by(self, name: str) -> list[Claim]:
        """The claims that we believe a worker's name to hold, of any incarnation."""
        return [self.by_token[token] for token in self._held_by.get(name, ())]

    def aged(self, claims: Iterable[Claim], now: float) -> list[Claim]:
        """These claims of ours, each with its age in seconds."""
        return [replace(claim, age_s=now - self._claimed_at[claim.token]) for claim in claims]

    def request_cancel(self, tokens: Iterable[UUID]) -> list[Claim]:
        """Mark claims as to be cancelled; returns those that were not marked before."""
        fresh = [claim for token in tokens if (claim := self.by_token.get(token)) and not claim.cancel_requested]
        for claim in fresh:
            self.by_token[claim.token] = replace(claim, cancel_requested=True)
        return fresh

    def told_to_leave(self, token: UUID) -> None:
        """This render has been asked to leave its worker."""
        if token in self.by_token:
            self.leaving.add(token)

    def may_stay(self, token: UUID) -> None:
        """Nobody knows whether it heard: it may be asked again."""
        self.leaving.discard(token)

    def unwritten_progress(self, statuses: Iterable[WorkerStatus]) -> list[Progress]:
        """Where the renders of these answers stand that have moved since `wrote` was last told."""
        moved = []
        for status in statuses:
            for render in status.renders:
                progress = _progress(render)
                if render.end is None and render.token in self.by_token and self._written.get(render.token) != progress:
                    moved.append(progress)
        return moved

    def last_words(self, status: WorkerStatus) -> list[Progress]:
        """What ended renders have stored, or met with, since their progress was last written."""
        words = []
        for render in status.renders:
            written = self._written.get(render.token)
            known = (written.checkpoint, written.incidents) if written is not None else (None, ())
            told = (render.checkpoint, render.incidents)
            if render.end is not None and render.token in self.by_token and told != known:
                words.append(_progress(render))
        return words

    def wrote(self, progress: Iterable[Progress]) -> None:
        """This progress is in the database."""
        for item in progress:
            if item.token in self.by_token:
                self._written[item.token] = item


def _progress(render: RenderStatus) -> Progress:
    return Progress(
        job_id=render.job_id,
        token=render.token,
        stage=str(render.stage),
        step=render.step,
        preview=render.preview,
        checkpoint=render.checkpoint,
        incidents=render.incidents,
    )
