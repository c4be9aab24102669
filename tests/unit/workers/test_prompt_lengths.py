"""A prompt that a model does not read to its end is rendered with a word about it, or with strict_prompt not at all."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from typing import Any

import pytest

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job import Incident, RenderSpec, VideoResult
from orchestrator.domain.outcome import blames_worker
from orchestrator.domain.protocol import Broke, Rendered
from orchestrator.store.engine import dumps
from tests.support.builders import a_result, a_spec
from tests.support.engine import give, running, status, the_end
from tests.support.requests import ASKED, planned, refused
from tests.support.workers import ScriptedModel
from workers.engine.choice import Act
from workers.engine.parts import Watch

CUT, NEGATIVE_CUT, UNUSED = Incident.PROMPT_CUT, Incident.NEGATIVE_PROMPT_CUT, Incident.NEGATIVE_PROMPT_UNUSED
LIMIT = 5
WITHIN, BEYOND = "one two three four five", "one two three four five six"


def keep_the_watch(into: list[int | None]) -> Any:
    def finish(assignment: Any, frames: Any, watch: Watch) -> VideoResult:
        into.append(watch.prompt_tokens)
        return a_result(incidents=watch.incidents, prompt_tokens=watch.prompt_tokens)

    return finish


@pytest.mark.parametrize(
    ("spec", "tokens", "befell"),
    [
        ({"prompt": WITHIN}, 5, ()),
        ({"prompt": BEYOND}, 6, (CUT,)),
        ({"prompt": WITHIN, "negative_prompt": BEYOND}, 5, (NEGATIVE_CUT,)),
        ({"prompt": BEYOND, "negative_prompt": BEYOND}, 6, (CUT, NEGATIVE_CUT)),
        ({"prompt": WITHIN, "negative_prompt": "people", "guidance_scale": 1.0}, 5, (UNUSED,)),
        ({"prompt": BEYOND, "negative_prompt": BEYOND, "guidance_scale": 0.0}, 6, (CUT, UNUSED)),
        ({"prompt": WITHIN, "negative_prompt": " ", "guidance_scale": 1.0}, 5, ()),
        ({"prompt": WITHIN, "negative_prompt": "people", "guidance_scale": 1.01}, 5, ()),
    ],
)
def test_what_is_cut_or_has_no_effect_is_told_while_it_renders_and_with_the_video(
    spec: dict[str, Any], tokens: int, befell: tuple[Incident, ...]
) -> None:
    counted: list[int | None] = []
    with running(ScriptedModel(reads=LIMIT), keep_the_watch(counted)) as roster:
        token = give(roster, **spec)
        end = the_end(roster, token)
        assert isinstance(end, Rendered)
        assert status(roster, token).incidents == befell
    assert (counted, end.result.prompt_tokens, end.result.incidents) == ([tokens], tokens, befell)
    assert end.result.prompt_cut is (CUT in befell)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"prompt": BEYOND}, "prompt: has 6 tokens, of which tiny-2b reads 5"),
        ({"prompt": WITHIN, "negative_prompt": BEYOND}, "negative_prompt: has 6 tokens, of which tiny-2b reads 5"),
    ],
)
def test_a_strict_prompt_that_is_too_long_fails_for_good_before_the_gpu_moves(spec: dict[str, Any], told: str) -> None:
    model = ScriptedModel(reads=LIMIT)
    with running(model) as roster:
        end = the_end(roster, give(roster, strict_prompt=True, **spec))
    assert isinstance(end, Broke)
    assert (end.failure.code, end.failure.retryable) == ("prompt_too_long", False)
    assert end.failure.message.startswith(told)
    assert not blames_worker(end.failure)
    assert (model.moves, model.begun) == ([], [])


def test_a_strict_prompt_that_is_read_whole_is_rendered() -> None:
    model = ScriptedModel(reads=LIMIT)
    with running(model) as roster:
        strict = {"strict_prompt": True, "prompt": WITHIN, "negative_prompt": WITHIN}
        assert isinstance(the_end(roster, give(roster, **strict)), Rendered)
    assert (Act.BEGIN, 7) in model.moves


def test_a_strict_request_with_a_negative_prompt_that_has_no_effect_is_refused_at_the_door() -> None:
    asked = replace(ASKED, strict_prompt=True, negative_prompt="people", guidance_scale=1)
    error = refused(asked, InvalidField)
    assert (error.param, error.message) == ("negative_prompt", "has no effect with a guidance_scale of at most 1")
    for fine in (
        replace(asked, guidance_scale=1.5),
        replace(asked, negative_prompt="  "),
        replace(asked, strict_prompt=False),
    ):
        assert planned(fine).spec.strict_prompt is fine.strict_prompt


# ------------------------------------------------------------ beside another release


def test_rows_say_nothing_that_earlier_releases_do_not_know_unless_it_was_asked_for() -> None:
    plain, strict = a_spec(), a_spec(strict_prompt=True)
    assert "strict_prompt" not in json.loads(dumps(plain))
    assert json.loads(dumps(strict))["strict_prompt"] is True
    for spec in (plain, strict):
        assert RenderSpec.from_dict(json.loads(dumps(spec))) == spec


@pytest.mark.parametrize("value", [a_spec(), a_result()], ids=["spec", "result"])
@pytest.mark.parametrize("later", [0, 1])
def test_what_an_earlier_release_pickled_has_the_new_fields_defaults(value: Any, later: int) -> None:
    """A dataclass with slots is pickled as the list of its values, in the order of its fields."""
    names = [item.name for item in fields(value)]
    assert names[-1] in ("strict_prompt", "prompt_tokens")
    old = object.__new__(type(value))
    old.__setstate__([getattr(value, name) for name in names[: len(names) - later]])
    assert old == value == pickle.loads(pickle.dumps(value))


def test_a_result_that_nobody_counted_says_neither_yes_nor_no() -> None:
    told = {name: value for name, value in a_result().to_dict().items() if name != "prompt_tokens"}
    assert VideoResult.from_dict(told).prompt_cut is None
