"""What a choice makes of the renders on the GPU: who moves, who waits meanwhile, and who was overtaken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.domain.job import Incident
from workers.engine.choice import Act, Choice
from workers.engine.held import Held


def take(renders: Sequence[Held], choice: Choice | None, now: float) -> list[Held]:
    """Note in each render what it is about to do; those that move are returned. Without a choice, all wait."""
    moving = [held for held in renders if choice and held.assignment.token in choice.tokens]
    for held in moving:
        held.move(now)
    waiting = [held for held in renders if held.begun and held not in moving]
    for held in waiting:
        _wait(held, moving, now, stepping=choice is not None and choice.act is Act.STEP)
    match choice:
        case Choice(act=Act.PREVIEW):
            moving[0].preview_step = None  # taken once, whatever becomes of it
        case Choice(act=Act.BEGIN):
            moving[0].begun = True
            _overtake(moving[0], waiting)
    return moving


def _wait(held: Held, moving: Sequence[Held], now: float, *, stepping: bool) -> None:
    """One that could step is parked: behind what is more urgent (preempted), or while others step."""
    overtaken = bool(moving) and moving[0].assignment.priority < held.assignment.priority
    if overtaken:
        held.befall(Incident.PREEMPTED)
    held.wait(now, parked=held.steps_left > 0 and (overtaken or stepping))


def _overtake(newcomer: Held, begun: Iterable[Held]) -> None:
    for held in begun:
        if held.assignment.priority > newcomer.assignment.priority:
            held.overtaken += 1
