"""How true forecasts of campaigns were, judged when one has completed: by what was told when half of its time was over.

The last forecast before an end is always right, and the first one knows nothing of the rows yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.outlooks import KeptOutlook

# A forecast is remembered when such a part of the time since the first one has passed since the last: enough to find
# the middle, and some hundreds of a campaign of months.
_PART = 1 / 128
# What took less in all is no campaign that anybody waits for, and the pause between two forecasts is most of it.
_LEAST = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of a forecast."""

    # The seconds that were left, to those that were likely.
    ratio: float
    # held, early or late: by the range in which eight ends of ten lie.
    held: str


class Hindsight:
    """The forecasts that one process has made of campaigns that go on. A process that leads anew starts anew."""

    def __init__(self) -> None:
        self._told: dict[str, list[KeptOutlook]] = {}

    def note(self, outlooks: Collection[KeptOutlook]) -> frozenset[str]:
        """Remember what was told of all campaigns that go on; the names of those that do so no more."""
        for outlook in outlooks:
            told = self._told.setdefault(outlook.name, [])
            if not told or outlook.made_at - told[-1].made_at >= (outlook.made_at - told[0].made_at) * _PART:
                told.append(outlook)
        return frozenset(self._told.keys() - {outlook.name for outlook in outlooks})

    def judge(self, gone: Collection[str], completed: Mapping[str, datetime]) -> list[Judgement]:
        """Forget those that are gone; what their forecasts were worth, of those that completed, and when they did."""
        told = {name: self._told.pop(name) for name in gone}
        found = [judged(told[name], at) for name, at in completed.items() if name in told]
        return [each for each in found if each is not None]

    def forget(self) -> None:
        """Another one makes forecasts now."""
        self._told.clear()


def judged(told: Collection[KeptOutlook], ended_at: datetime) -> Judgement | None:
    """What the forecast was worth that was made nearest to the middle; None where there was none of an end by then."""
    moments = [each.made_at for each in told]
    if not moments or ended_at - min(moments) < _LEAST:
        return None
    middle = min(moments) + (ended_at - min(moments)) / 2
    nearest = min(told, key=lambda each: abs(each.made_at - middle))
    if nearest.likely_at is None or nearest.likely_at <= nearest.made_at:
        return None
    ratio = (ended_at - nearest.made_at) / (nearest.likely_at - nearest.made_at)
    if nearest.low_at is not None and ended_at < nearest.low_at:
        return Judgement(ratio=ratio, held="early")
    late = nearest.high_at is not None and ended_at > nearest.high_at
    return Judgement(ratio=ratio, held="late" if late else "held")
