"""What the engine does next, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.builders import token_of
from workers.choice import Act, Candidate, Choice, choose


def a_candidate(number: int, **changes: Any) -> Candidate:
    values = {"ready": True, "begun": False, "steps_left": 4, "preview_due": False, "cancelled": False, **changes}
    return Candidate(token=token_of(number), **values)


WAITING = a_candidate(1)
STEPPING = a_candidate(2, begun=True)
DENOISED = a_candidate(3, begun=True, steps_left=0)
WITHOUT_PICTURE = a_candidate(6, ready=False)
TO_SHOW = a_candidate(7, begun=True, preview_due=True)
GIVEN_UP = a_candidate(4, cancelled=True)
GIVEN_UP_DENOISED = a_candidate(5, begun=True, steps_left=0, cancelled=True)


@pytest.mark.parametrize(
    ("candidates", "finishers_free", "expected"),
    [
        pytest.param([], 2, None, id="nothing to do"),
        pytest.param([WAITING], 2, Choice(Act.BEGIN, token_of(1)), id="begin what waits"),
        pytest.param([WAITING, a_candidate(9)], 2, Choice(Act.BEGIN, token_of(1)), id="in order of arrival"),
        pytest.param([STEPPING, WAITING], 2, Choice(Act.STEP, token_of(2)), id="what began goes on"),
        pytest.param([WITHOUT_PICTURE], 2, None, id="nothing begins without its picture"),
        pytest.param([WITHOUT_PICTURE, WAITING], 2, Choice(Act.BEGIN, token_of(1)), id="nor holds another up"),
        pytest.param([WITHOUT_PICTURE, STEPPING], 2, Choice(Act.STEP, token_of(2)), id="nor stops what began"),
        pytest.param([TO_SHOW, WAITING], 0, Choice(Act.PREVIEW, token_of(7)), id="show what is far enough"),
        pytest.param(
            [a_candidate(7, begun=True, preview_due=True, cancelled=True)],
            2,
            Choice(Act.DROP, token_of(7)),
            id="cancelled is not shown",
        ),
        pytest.param([WAITING, STEPPING], 0, Choice(Act.STEP, token_of(2)), id="stepping needs no finisher"),
        pytest.param([DENOISED, WAITING], 1, Choice(Act.DECODE, token_of(3)), id="decode what is denoised"),
        pytest.param([DENOISED, WAITING], 0, None, id="no decode without a finisher, and nothing overtakes"),
        pytest.param([STEPPING, GIVEN_UP], 2, Choice(Act.DROP, token_of(4)), id="cancelled goes first"),
        pytest.param([GIVEN_UP_DENOISED], 2, Choice(Act.DROP, token_of(5)), id="cancelled is not decoded"),
        pytest.param([GIVEN_UP_DENOISED], 0, Choice(Act.DROP, token_of(5)), id="dropping needs no finisher"),
    ],
)
def test_the_next_move(candidates: list[Candidate], finishers_free: int, expected: Choice | None) -> None:
    assert choose(candidates, finishers_free=finishers_free) == expected
