"""Whether more fits into a quota."""

from __future__ import annotations

import math

import pytest

from orchestrator.domain.errors import LimitExceeded
from orchestrator.policy.limits import Limits
from orchestrator.policy.quotas import Holding, check_room


@pytest.mark.parametrize("most", [None, math.inf, 3])
def test_what_fits_passes_and_so_does_what_adds_nothing_to_what_is_too_much(most: float | None) -> None:
    limits = Limits(files=most)
    check_room(limits, Holding(files=2), files=1)
    check_room(limits, Holding(files=9), files=0)


def test_the_first_quota_without_room_is_named_with_its_value_and_what_is_used() -> None:
    with pytest.raises(LimitExceeded) as refused:
        check_room(Limits(files=9, stored_bytes=100), Holding(files=1, stored_bytes=95), files=1, stored_bytes=6)
    error = refused.value
    assert (error.limit, error.most, error.used, error.retry_after_s) == ("stored_bytes", 100, 95, None)
