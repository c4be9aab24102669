"""What the GPU and the fetchers do next, what more could be taken on, and when the GPU will have done it all."""

from __future__ import annotations

from orchestrator.domain.protocol import Stage
from workers.engine import choice, turns
from workers.engine.choice import Act, Candidate, Capacity
from workers.engine.held import Held
from workers.engine.renders import Renders

# Renders that may be encoded and uploaded at a time; also how many decoded videos can be in memory.
FINISHERS = 2


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

        One batch, and one that waits so that no gap follows.
        """
        with self._renders.lock:
            counted = sum(1 for held in self._renders.on_gpu() if held.stage is not Stage.PREEMPTED)
            return max(0, self.capacity.batch_size + 1 - counted) if self._renders.taking else 0

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
            if choice.joinable(self._candidates(), self.capacity):
                return 0.0
            return sum(self._remaining_s(held) for held in self._renders.on_gpu())

    def next(self) -> tuple[Act, list[Held]] | None:
        """Wait for the GPU's next move; None once the roster is closed. A render that it says to begin has begun."""
        renders = self._renders
        with renders.lock:
            while renders.open:
                chosen = choice.choose(self._candidates(), self.capacity, finishers_free=self._finishers_free())
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
        return [held.candidate(self._checkpoint_every_s) for held in self._renders.on_gpu()]

    def _finishers_free(self) -> int:
        return FINISHERS - sum(1 for held in self._renders.by_token.values() if held.finishing and held.end is None)

    def _remaining_s(self, held: Held) -> float:
        idle_s = self._renders.clock() - held.moved_at if held.begun and not held.waiting else 0.0
        spec = held.assignment.spec
        return self._renders.meter.remaining_s(spec, steps_left=held.steps_left, idle_s=idle_s)
