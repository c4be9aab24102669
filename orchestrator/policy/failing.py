"""When failures stop a campaign: too many of them, or too many among its first rows."""

from __future__ import annotations

from orchestrator.domain.campaign import StopRule
from orchestrator.domain.errors import InvalidField

_PARAM = "stop_on_failures"


def check(rule: StopRule) -> None:
    """Raise `InvalidField` for bounds that make no sense."""
    if rule.count is not None and rule.count < 0:
        raise InvalidField("must be 0 or more", param=f"{_PARAM}.count")
    if rule.share is not None and not 0 <= rule.share < 1:
        raise InvalidField("must be at least 0 and less than 1", param=f"{_PARAM}.share")
    if rule.of_first is not None and rule.of_first < 1:
        raise InvalidField("must be 1 or more", param=f"{_PARAM}.of_first")
    if (rule.share is None) != (rule.of_first is None):
        missing = "share" if rule.share is None else "of_first"
        raise InvalidField("share and of_first go together", param=f"{_PARAM}.{missing}", code="missing")


def stops(rule: StopRule, failed: int, ended: int, first_failed: int) -> str | None:
    """Why a campaign stops, in a sentence; None when it goes on.

    `failed` of `ended` rows failed, `first_failed` of them among the first `of_first` that ended. As soon as these are
    too many it stops, not only when all the first ones have ended.
    """
    if rule.count is not None and failed > rule.count:
        return f"{failed} rows failed; at most {rule.count} may"
    if rule.share is not None and rule.of_first is not None and first_failed > rule.share * rule.of_first:
        seen = min(ended, rule.of_first)
        return f"{first_failed} of the first {seen} rows failed; at most {rule.share:.0%} of {rule.of_first} may"
    return None
