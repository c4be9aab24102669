"""What the GPU and the fetchers do next, what more could be taken on, and when the GPU will have done it all."""

from __future__ import annotations

from collections import Counter

from orchestrator.domain.protocol import Stage
from workers.engine import choice, turns
from workers.engine.choice import Act, Candidate, Capacity
from workers.engine.finishers import PLACES
from workers.engine.held import Held
from workers.engine.renders import Renders


class Schedule:
    """Of the renders that a worker holds. Only `next` and `next_to_fetch` wait; locks are as `renders.py` says.

    A checkpoint is due after every `checkpoint_every_s` that its GPU has spent on a render (what a lost worker costs; a
    render that waits has nothing new to lose); 0 is never.
    """

    def __init__(self, renders: Renders, capacity: Capacity, *, checkpoint_every_s: float = 0.0) -> None:
        self.capacity = capacity
        self._renders = renders
        self._checkpoint_every_s = checkpoint_every_s

    @property
    def room(self) -> int:
        """How many more renders would be taken now, however urgent they are. Those parked in memory do not count.

        One batch, and one that waits so that no gap follows. What waits for its own tenant's others to be finished
        takes room from that tenant alone: of `crowded` ones none is taken.
        """
        return self._room(None)

    def room_for(self, tenant: str) -> int:
        """The same, for a render of this tenant."""
        return self._room(tenant)

    @property
    def crowded(self) -> tuple[str, ...]:
        """Tenants that there is no room for although there is some."""
        with self._renders.lock:
            stalled = {held.assignment.tenant for held in self._stalled()} if self.room else set()
            return tuple(sorted(tenant for tenant in stalled if not self._room(tenant)))

    @property
    def interrupts(self) -> int | None:
        """A render of a smaller priority number would be taken, room or not, and step next; None when none would."""
        with self._renders.lock:
            return choice.interrupts(self._candidates(), self.capacity) if self._renders.taking else None

    @property
    def free_in_s(self) -> float:
        """Seconds until the GPU has done all that is held; 0 when it could do more at the same time.

        A render whose material is still on its way counts in full: it will be there in a moment, and a second render
        claimed meanwhile would wait behind it for as long as it takes.
        """
        with self._renders.lock:
            going = [one for one in self._candidates() if not one.stalled]
            if choice.joinable(going, self.capacity):
                return 0.0
            stalled = self._stalled()
            return sum(self._remaining_s(held) for held in self._renders.on_gpu() if held not in stalled)

    def next(self) -> tuple[Act, list[Held]] | None:
        """Wait for the GPU's next move; None once the roster is closed. A render that it says to begin has begun."""
        renders = self._renders
        with renders.lock:
            while renders.open:
                chosen = choice.choose(self._candidates(), self.capacity, places_free=self._places_free())
                room = self.room
                moving = turns.take(renders.on_gpu(), chosen, renders.clock())
                if self.room != room:
                    renders.changes.urgent()
                if chosen is not None:
                    return chosen.act, moving
                renders.lock.wait()
            return None

    def next_to_fetch(self) -> Held | None:
        """Wait for a render whose material nobody fetches yet, the most urgent first; None as `next` has it."""
        renders = self._renders
        with renders.lock:
            while renders.open:
                wanting = [held for held in renders.on_gpu() if not held.ready and not held.fetching]
                if wanting:
                    held = min(wanting, key=lambda one: one.assignment.priority)
                    held.fetching = True
                    return held
                renders.lock.wait()
            return None

    # ------------------------------------------------------------ called with the lock held

    def _candidates(self) -> list[Candidate]:
        counts = self._finishing()
        return [
            held.candidate(self._checkpoint_every_s, finishing=counts[held.assignment.tenant])
            for held in self._renders.on_gpu()
        ]

    def _room(self, tenant: str | None) -> int:
        with self._renders.lock:
            if not self._renders.taking:
                return 0
            # Whose it is dispatchers of earlier releases do not say, nor do they ask who is crowded: it counts for all.
            others = [held for held in self._stalled() if held.assignment.tenant not in (tenant, "")]
            on_gpu = [held for held in self._renders.on_gpu() if held.stage is not Stage.PREEMPTED]
            return max(0, self.capacity.batch_size + 1 - len(on_gpu) + len(others))

    def _stalled(self) -> list[Held]:
        tokens = {one.token for one in self._candidates() if one.stalled}
        return [held for held in self._renders.on_gpu() if held.assignment.token in tokens]

    def _finishing(self) -> Counter[str]:
        """How many renders of each tenant are being finished."""
        return Counter(held.assignment.tenant for held in self._renders.being_finished())

    def _places_free(self) -> int:
        return PLACES - len(self._renders.being_finished())

    def _remaining_s(self, held: Held) -> float:
        idle_s = self._renders.clock() - held.moved_at if held.begun and not held.waiting else 0.0
        spec = held.assignment.spec
        return self._renders.meter.remaining_s(spec, steps_left=held.steps_left, idle_s=idle_s)
