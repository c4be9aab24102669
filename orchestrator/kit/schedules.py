"""When something that repeats comes next: cron expressions in a time zone, with Debian cron's rules for changed clocks.

What is wanted once a day comes once a day: a time that clocks jump over is made up for right after the jump, and one
that comes twice counts the first time. What repeats within hours follows the clock as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.zones import zone_of

_CRON = "schedule.cron"
_ZONE = "schedule.time_zone"
_MAX_CHARS = 100


def next_run(cron: str, zone: str, after: datetime) -> datetime:
    """The first moment after this one, which has its zone; in UTC.

    Raises `InvalidField` for an expression that is none, or that never comes (the 30th of February), and for an unknown
    time zone.
    """
    try:
        place = zone_of(zone)
    except ValueError as error:
        raise InvalidField(str(error), param=_ZONE) from None
    # The library would read a sixth field as seconds.
    if len(cron) > _MAX_CHARS or len(cron.split()) != 5:
        raise InvalidField(
            "must be five fields: minute, hour, day of the month, month, day of the week; such as '0 18 * * MON-FRI'",
            param=_CRON,
        )
    try:
        return next(CronSim(cron, after.astimezone(place))).astimezone(UTC)
    except StopIteration:
        raise InvalidField("never comes", param=_CRON) from None
    except (CronSimError, ValueError, TypeError, AssertionError) as error:
        raise InvalidField(f"is no cron expression: {error}"[:200], param=_CRON) from None
