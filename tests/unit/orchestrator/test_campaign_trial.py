"""Which rows of an input are tried: those that could fare otherwise than one before, however alike they look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.campaigns.requests import Priced, Trial
from orchestrator.domain.campaign import TemplateVersion
from orchestrator.domain.errors import InvalidField

PRICE: Priced = ("small", "tiny-2b", 1.0)
INLINE = {"image_url": "data:image/png;base64,AAAA"}


class Requests:
    """Notes what is tried; what is no integer where one belongs is refused, as the dialect does."""

    def __init__(self) -> None:
        self.tries: list[Mapping[str, Any]] = []

    def tried(self, tenant: str, wish: Mapping[str, Any]) -> Priced:
        self.tries.append(wish)
        if type(wish.get("num_inference_steps", 1)) is not int:
            raise InvalidField("must be an integer", param="num_inference_steps")
        return PRICE


def a_trial() -> tuple[Trial, list[Mapping[str, Any]]]:
    requests = Requests()
    version = TemplateVersion(version=1, prompt=None, negative_prompt=None, defaults={})
    return Trial(requests, "acme", version, max_chars=100), requests.tries  # type: ignore[arg-type]


def test_rows_that_differ_in_their_texts_alone_are_tried_once() -> None:
    trial, tries = a_trial()
    for n in range(3):
        assert trial({"prompt": f"mug {n}", "seed": n, "fps": 8, "input_reference": {"image_url": f"http://a/{n}"}})
    assert len(tries) == 1


@pytest.mark.parametrize("other", [True, 1.0, "1"])
def test_a_row_does_not_count_as_good_since_another_with_an_equal_value_was(other: object) -> None:
    trial, _ = a_trial()
    assert trial({"prompt": "mug", "num_inference_steps": 1}) == PRICE
    with pytest.raises(InvalidField):
        trial({"prompt": "cup", "num_inference_steps": other})


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), ({"a": [0]}, {"a": [False]}), ({"a": "b"}, '{"a": "b"}'),
     (0, False), (None, "null")],
)  # fmt: skip
def test_values_that_are_equal_and_not_the_same_are_tried_each(one: object, other: object) -> None:
    trial, tries = a_trial()
    for value in (one, other, one):
        trial({"prompt": "mug", "metadata": value})
    assert len(tries) == 2


def test_a_picture_within_the_row_is_looked_at_in_each() -> None:
    trial, tries = a_trial()
    for n in range(3):
        trial({"prompt": f"mug {n}", "input_reference": INLINE})
    assert len(tries) == 3
