"""How the ledger adds up, and how those who ask it say what they want."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.usage import By, Sum, Waste, add_up, waste_of, wasted
from orchestrator.domain.waste import Cause, wasted_by_cause
from orchestrator.domain.worker_time import Spell, Spent
from orchestrator.tenants.ledger import read_by, read_moment

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

PRICES = {("big", ""): 2.0, ("big", "spot"): 1.0, ("small", ""): 0.0, ("small", "spot"): 0.0}

sums = st.builds(
    Sum,
    hour=st.sampled_from([None, NOON]),
    tenant=st.sampled_from([None, "acme", "birch"]),
    campaign=st.sampled_from([None, "campaign_1"]),
    model=st.sampled_from([None, "2b"]),
    pool=st.sampled_from(["big", "small", "unpriced"]),
    kind=st.sampled_from([None, "", "spot"]),
    outcome=st.sampled_from(AttemptOutcome),
    kept=st.sampled_from([None, True, False]),
    attempts=st.integers(1, 100),
    gpu_seconds=st.floats(0.1, 1e6),
)


@given(st.lists(sums, max_size=30), st.lists(st.sampled_from(By), unique=True))
def test_nothing_is_lost_in_adding_up(given_sums: list[Sum], by: list[By]) -> None:
    lines = add_up(given_sums, by, PRICES)
    assert sum(line.attempts for line in lines) == sum(each.attempts for each in given_sums)
    assert sum(line.gpu_seconds for line in lines) == pytest.approx(sum(each.gpu_seconds for each in given_sums))
    assert sum(line.wasted_gpu_seconds for line in lines) == pytest.approx(sum(wasted(given_sums).values()))
    keys = [tuple(getattr(line, each.value) for each in by) for line in lines]
    assert len(set(keys)) == len(keys)
    if any(each.pool == "unpriced" for each in given_sums):
        assert any(line.money is None for line in lines)


def test_each_end_of_an_attempt_is_of_use_or_a_cause_of_waste() -> None:
    useful = {
        (outcome, kept) for outcome in AttemptOutcome for kept in (None, True, False) if not waste_of(outcome, kept)
    }
    assert useful == {
        *((AttemptOutcome.SUCCEEDED, kept) for kept in (None, True, False)),
        (AttemptOutcome.EVICTED, True),
        (AttemptOutcome.EVICTED, None),
    }


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (None, None),
        ("", None),
        ("1893456000", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01", datetime(2030, 1, 1, tzinfo=UTC)),
        ("20300101", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01T01:00:00+01:00", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01T00:00:00Z", datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_in_each_of_its_forms(text: str | None, moment: datetime | None) -> None:
    assert read_moment(text, "from") == moment


@pytest.mark.parametrize(
    "text", ["yesterday", "2030-01-01T00:00:00", "2030-13-01", "-5", "9" * 30, "0001-01-01", "1e9"]
)
def test_what_is_no_moment_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        read_moment(text, "from")
    assert refused.value.param == "from"


def test_what_is_told_apart_is_named_once() -> None:
    assert read_by(" hour , campaign,hour") == (By.HOUR, By.CAMPAIGN)
    assert read_by(None) == ()


def a_sum(outcome: AttemptOutcome, seconds: float, kind: str | None = "", kept: bool | None = None) -> Sum:
    return Sum(
        hour=None, tenant=None, campaign=None, model=None, pool="big", kind=kind, outcome=outcome, kept=kept,
        attempts=1, gpu_seconds=seconds, charge=2 * seconds,
    )  # fmt: skip


def test_an_attempt_costs_what_its_kind_of_worker_does_and_the_dearest_where_nobody_knows_it() -> None:
    done = AttemptOutcome.SUCCEEDED
    lines = add_up([a_sum(done, 3600.0, kind) for kind in ("spot", "", None, "gone")], [By.KIND], PRICES)
    assert {line.kind: line.money for line in lines} == {
        "spot": pytest.approx(1.0), "": pytest.approx(2.0), None: pytest.approx(2.0), "gone": None,
    }  # fmt: skip


def test_waste_of_attempts_and_of_workers_stands_in_one_list_and_no_second_twice() -> None:
    attempts = [
        a_sum(AttemptOutcome.SUCCEEDED, 3600.0, "spot"),
        a_sum(AttemptOutcome.LOST, 1800.0, "spot"),
        a_sum(AttemptOutcome.LOST, 1800.0),
        a_sum(AttemptOutcome.EVICTED, 90.0, "spot", kept=True),
        a_sum(AttemptOutcome.EVICTED, 36.0, "spot", kept=False),
    ]
    spells = (("spot", Spell.BUSY, 5526.0), ("", Spell.BUSY, 1800.0), ("spot", Spell.IDLE, 7200.0))
    workers = [Spent(pool="big", kind=kind, spell=spell, seconds=seconds) for kind, spell, seconds in spells]
    whole = wasted_by_cause(attempts, workers, (), PRICES)
    assert [(line.cause, line.seconds, line.money) for line in whole] == [
        ("lost", 3600.0, pytest.approx(1.5)),
        ("evicted", 36.0, pytest.approx(0.01)),
        ("idle", 7200.0, pytest.approx(2.0)),
    ]  # fmt: skip
    apart = wasted_by_cause(attempts, workers, ("kind",), PRICES)
    assert [(line.kind, line.cause, line.seconds) for line in apart] == [
        ("", "lost", 1800.0), ("spot", "lost", 1800.0), ("spot", "evicted", 36.0), ("spot", "idle", 7200.0),
    ]  # fmt: skip


def test_every_cause_of_attempts_and_of_workers_is_a_cause() -> None:
    assert {cause.value for cause in Cause} == {*Waste, *Spell} - {Spell.BUSY}
