"""Which kinds of workers can be counted on: what is remembered of those that did not come, or were taken back. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.policy.kinds import Kind, Standing
from orchestrator.policy.losses import Losses


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """What an operator sets."""

    # A backlog without a deadline should be done within so many seconds, and an urgent one.
    clear_s: float = 1800.0
    urgent_within_s: float = 120.0
    # More than deadlines need, by this factor.
    headroom: float = 1.1
    band: float = 0.05
    slack: float = 0.25
    # What is too many goes after so many seconds; without any work, after `idle_s`, or its start's time if longer.
    surplus_s: float = 120.0
    idle_s: float = 300.0
    # A kind has this many times its `start_s`, and at least `patience_s`, to give a worker that was asked for.
    patience: float = 2.0
    patience_s: float = 60.0
    # The first pause after one that did not come, or after losses; each further one is twice as long, up to the last.
    backoff_s: float = 60.0
    backoff_most_s: float = 3600.0

    def pause_s(self, times: int) -> float:
        """The pause after so many before it."""
        return min(self.backoff_most_s, self.backoff_s * 2.0 ** min(times, 30))

    def patience_for(self, kind: Kind) -> float:
        return max(self.patience_s, self.patience * kind.start_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindMemory:
    """What is remembered of a kind from one decision to the next."""

    # Since when it has had too many, and the most that were needed since.
    surplus_since: float | None = None
    keep: int = 0
    ready: int = 0
    # When one last became ready.
    came_at: float = -math.inf
    # How often in a row none came in its time, and until when none is asked for.
    failures: int = 0
    rests_until: float = -math.inf
    # How its workers were taken back, and what was said when that was too often.
    losses: Losses = field(default_factory=Losses)
    said: str = ""

    def rests_s(self, now: float) -> float:
        """For so long none is asked for; after losses, as far as other kinds do its work."""
        return max(0.0, self.rests_until - now, self.losses.until - now)


@dataclass(frozen=True, slots=True)
class Memory:
    """Of each kind, by its name."""

    kinds: Mapping[str, KindMemory] = field(default_factory=dict)

    def of(self, kind: str) -> KindMemory:
        return self.kinds.get(kind, KindMemory())


def judged(standing: Standing, rules: ScalingRules, known: KindMemory, now: float) -> tuple[KindMemory, int, str]:
    """What is to be remembered of a kind now, how many of its workers are not waited for any more, and why."""
    return _judge_starts(standing, rules, _judge_losses(standing, rules, known, now), now)


def _judge_losses(standing: Standing, rules: ScalingRules, known: KindMemory, now: float) -> KindMemory:
    """Put a kind aside whose workers are taken back before they were worth their start."""
    kind = standing.kind
    losses = known.losses.seen(ready=standing.ready, lost=standing.lost, start_s=kind.start_s, now=now)
    if not standing.lost or losses.is_aside(now) or not losses.too_many(kind.start_s):
        return replace(known, losses=losses, said=known.said if losses.on_trial else "")
    pause = rules.pause_s(losses.times)
    lived = losses.ready_s / losses.lost
    said = (
        f"taken back after {lived:.0f} s as a mean, and a start takes {kind.start_s:.0f} s; "
        f"one is tried in {pause:.0f} s"
    )
    return replace(known, losses=losses.put_aside(now, pause), said=said)


def _judge_starts(
    standing: Standing, rules: ScalingRules, known: KindMemory, now: float
) -> tuple[KindMemory, int, str]:
    """Withdraw what did not come in its time, and let the kind rest; it is forgiven when one comes.

    While others of the kind are coming, those that are late have time.
    """
    patience = rules.patience_for(standing.kind)
    came = standing.ready > known.ready
    known = replace(known, ready=standing.ready)
    if came:
        known = replace(known, came_at=now, failures=0, rests_until=-math.inf)
    late = sum(age > patience for age in standing.ages)
    if not late or now - known.came_at <= patience:
        return known, 0, ""
    pause = rules.pause_s(known.failures)
    known = replace(known, failures=known.failures + 1, rests_until=now + pause)
    why = f"{late} did not come within {patience:.0f} s; the next try in {pause:.0f} s"
    return known, late, why
