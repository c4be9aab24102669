"""What renders have taught: robust, followed when it changes, of help to what nobody has rendered yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.catalog import FAMILIES, Profile
from orchestrator.domain.job import Incident
from orchestrator.policy.cost import predict
from orchestrator.policy.prediction import (
    DAY_S,
    KEPT,
    NOTHING_LEARNED,
    Key,
    Past,
    Predictions,
    WorkerKind,
    taught,
)
from orchestrator.policy.ratios import UNKNOWN
from tests.support.builders import a_result, a_spec

FAMILY = FAMILIES["tiny-2b"]
RATIOS = st.lists(st.floats(0.01, 100), min_size=1, max_size=KEPT)


def a_key(kind: str = "small", **changes: Any) -> Key:
    return Key.of(a_spec(**changes), kind=kind)


def past(ratios: Sequence[float], key: Key | None = None, *, at: float = 0.0) -> Past:
    """Renders of the last minutes before `at`, the newest first."""
    return Past(key=key or a_key(), ratios=ratios, seen=[at - 60.0 * age for age in range(len(ratios))])


def likely(*known: Past, key: Key | None = None) -> float:
    return Predictions(known).ratio(key or a_key()).likely


def test_before_any_render_the_catalogue_has_the_word_and_the_range_is_wide() -> None:
    found, prior_s = NOTHING_LEARNED.of(FAMILY, a_spec(), kind="small"), predict(FAMILY, a_spec())
    assert (found.gpu_seconds, found.samples) == (prior_s, 0)
    assert (found.low, found.high) == (prior_s * UNKNOWN.low, prior_s * UNKNOWN.high)


def test_one_render_is_believed_and_many_make_the_range_narrow() -> None:
    spreads = []
    for count in (1, 4, KEPT):
        found = Predictions([past([2.0] * count)]).of(FAMILY, a_spec(), kind="small")
        assert found.gpu_seconds == pytest.approx(2 * predict(FAMILY, a_spec()))
        spreads.append(found.high / found.low)
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 1.1


def test_a_few_renders_that_went_astray_change_nothing() -> None:
    found = Predictions([past([90.0, *[1.0] * 14, 0.001, *[1.0] * 14, 80.0])]).ratio(a_key())
    assert found.likely == 1.0
    assert found.high < 1.1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_new_driver_is_followed_after_half_as_many_renders_as_are_kept(factor: float) -> None:
    told = [1.0] * KEPT
    for count in range(1, KEPT + 1):
        told = [factor, *told][:KEPT]
        assert likely(past(told)) == (factor if count > KEPT // 2 else 1.0)


def test_older_renders_count_less() -> None:
    ratios, seen = [2.0] * 5 + [1.0] * 20, [0.0] * 5 + [-3 * DAY_S] * 20
    known = Past(key=a_key(), ratios=ratios, seen=seen)
    assert likely(known) == 2.0
    assert Predictions([known], half_life_s=100 * DAY_S).ratio(a_key()).likely == 1.0


def test_a_night_without_renders_forgets_nothing() -> None:
    then, now = (Predictions([past([1.0, 1.2, 1.4] * 4, at=at)]).ratio(a_key()) for at in (0.0, 7 * DAY_S))
    assert now == then


def test_what_nobody_has_rendered_yet_profits_from_what_is_nearest() -> None:
    fast = {"profile": Profile.FAST}
    known = (
        past([2.0] * 9),
        past([3.0] * 9, a_key(num_frames=17)),
        past([5.0] * 4, a_key(num_frames=17, **fast)),
        past([9.0] * 40, a_key(kind="elsewhere")),
    )
    assert likely(*known) == 2.0
    assert likely(*known, key=a_key(num_inference_steps=9)) == 2.0, "steps and adapters aside, it is the same"
    assert likely(*known, key=a_key(adapter="ink", num_frames=17)) == 3.0
    assert likely(*known, key=a_key(num_frames=25, **fast)) == 5.0, "the same profile"
    assert likely(*known, key=a_key(num_frames=25)) == 2.5, "that of all shapes"
    assert likely(*known, key=a_key(guidance_scale=1.0)) == 3.0, "that of its model, whatever it was"
    assert likely(*known, key=a_key(kind="new")) == 1.0, "of another kind of worker nothing is known"
    found = Predictions(known)
    assert found.models() == [("tiny-2b", "elsewhere"), ("tiny-2b", "small")]
    assert found.of_model("tiny-2b", "elsewhere").likely == 9.0


def test_a_shape_that_was_long_not_rendered_follows_its_model() -> None:
    before = past([1.0] * 8, at=-7 * DAY_S)
    assert likely(before, past([2.0] * 8, a_key(num_frames=17))) == 2.0
    assert likely(before) == 1.0


@given(RATIOS, st.integers(0, KEPT - 1), st.floats(1, 100))
def test_a_render_that_took_longer_makes_no_prediction_shorter(ratios: list[float], place: int, factor: float) -> None:
    place %= len(ratios)
    longer = [ratio * factor if at == place else ratio for at, ratio in enumerate(ratios)]
    before, after = (Predictions([past(each)]).ratio(a_key()) for each in (ratios, longer))
    assert after.likely >= before.likely
    assert after.low >= before.low * (1 - 1e-9)
    assert after.high >= before.high * (1 - 1e-9)
    assert before.low <= before.likely <= before.high
    assert min(ratios) <= before.likely <= max(ratios)


def test_the_rest_of_a_render_and_one_that_was_denoised_twice_teach_nothing() -> None:
    assert taught(a_result(gpu_seconds=6.0), 3.0) == 2.0
    assert taught(a_result(gpu_seconds=6.0, numerics="a+batched"), 3.0) == 2.0, "its share is what it costs"
    assert taught(a_result(gpu_seconds=6.0, resumed_at=3), 3.0) is None
    assert taught(a_result(gpu_seconds=6.0, incidents=(Incident.RETRIED_EXACTLY,)), 3.0) is None
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        assert taught(a_result(gpu_seconds=seconds), 3.0) is None
    assert taught(a_result(), 0.0) is None


KINDS = {word: WorkerKind(pool="small", speed=speed) for word, speed in (("small/a", 1.0), ("small/b", 2.0))}


def of_kinds(*known: Past) -> Predictions:
    return Predictions(known, kinds=KINDS)


def on(kind: str, ratio: float, count: int = 9, **changes: Any) -> Past:
    return past([ratio] * count, a_key(f"small/{kind}", **changes))


def ratios(found: Predictions, **changes: Any) -> tuple[float, float, float]:
    """Of the pool, of the kind that is the measure, and of the other."""
    a, b, c = (found.ratio(a_key(kind, **changes)).likely for kind in ("small", "small/a", "small/b"))
    return a, b, c


def test_before_any_render_a_kind_is_as_fast_as_it_is_configured() -> None:
    assert ratios(of_kinds()) == (1.0, 1.0, 0.5)
    assert ratios(of_kinds(on("a", 3.0))) == (3.0, 3.0, 1.5), "what one kind has taught helps the other"
    assert ratios(of_kinds(on("b", 3.0))) == (6.0, 6.0, 3.0)
    assert of_kinds().speed("tiny-2b", "small/b") == 2.0


@pytest.mark.parametrize("really", [0.5, 1.0, 4.0])
def test_a_wrong_speed_mends_itself(really: float) -> None:
    found = of_kinds(on("a", 1.2), on("b", 1.2 / really))
    assert found.speed("tiny-2b", "small/b") == pytest.approx(really)
    assert found.speed("tiny-2b", "small/a") == 1.0, "it is the measure"
    assert ratios(found) == pytest.approx((1.2, 1.2, 1.2 / really))
    # So it is for what only one of them has rendered yet, and for what nobody has.
    more = of_kinds(on("a", 1.2), on("b", 1.2 / really), on("a", 3.6, num_frames=17))
    assert ratios(more, num_frames=17) == pytest.approx((3.6, 3.6, 3.6 / really))
    assert ratios(found, num_frames=25) == pytest.approx((1.2, 1.2, 1.2 / really))


def test_speeds_are_told_from_renders_that_are_alike() -> None:
    fast = {"profile": Profile.FAST}
    found = of_kinds(on("a", 1.0), on("a", 9.0, 30, **fast), on("b", 0.5), on("b", 0.1, 30, num_frames=17))
    assert found.speed("tiny-2b", "small/b") == pytest.approx(2.0)
    elsewhere = of_kinds(on("a", 1.0), on("b", 0.1, num_frames=17, **fast))
    assert elsewhere.speed("tiny-2b", "small/b") == 2.0, "nothing is alike: as it is configured"
    assert of_kinds(on("a", 1.0), on("b", 0.1, 3)).speed("tiny-2b", "small/b") == 2.0, "three renders are not enough"


def test_a_pool_that_got_kinds_goes_on_from_what_it_knew() -> None:
    before = past([2.0] * 9, a_key("small"))
    assert ratios(of_kinds(before)) == (2.0, 2.0, 1.0)
    assert ratios(of_kinds(before, on("b", 7.0)))[2] == 7.0


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.integers(4, 20), st.integers(4, 20))
def test_a_pools_seconds_at_a_kinds_speed_are_the_kinds_own(a: float, b: float, often: int, seldom: int) -> None:
    found = of_kinds(on("a", a, often), on("b", b, seldom))
    of_pool = found.ratio(a_key("small")).likely
    for word, ratio in (("small/a", a), ("small/b", b)):
        assert of_pool / found.speed("tiny-2b", word) == pytest.approx(ratio)
