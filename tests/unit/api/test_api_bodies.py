"""Fields, read leniently but never loosely: numbers as text are numbers, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.bigmodel.schemas import GenerateVideo
from api.bigmodel.translate import request_of
from api.openai.schemas import CreateVideo
from api.openai.translate import request_of as openai_request_of
from api.wire.bodies import nested, parse_object, typed
from api.wire.forms import UploadedFile
from api.wire.pictures import read_picture
from api.wire.problem import problem_of
from orchestrator.config import FetchSettings
from orchestrator.domain.errors import InvalidField, RequestError
from orchestrator.domain.request import ImageBytes
from tests.support.checked import check_picture


def field(name: str, value: object) -> Any:
    return getattr(typed(CreateVideo, {"prompt": "sea", name: value}), name)


def refused(name: str, value: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        field(name, value)
    return caught.value


@pytest.mark.parametrize(("written", "value"), [("9", 9), (" +9 ", 9), ("9.0", 9), (9.0, 9), ("-3", -3)])
def test_integers_may_be_written_as_text(written: object, value: int) -> None:
    assert field("num_frames", written) == value


@pytest.mark.parametrize("written", ["1_0", "１０", "٣", "0x9", "9.5", "1e1", "", "9 9", True, "9" * 5000])
def test_what_is_no_integer_is_refused_by_name(written: object) -> None:
    assert refused("num_frames", written).param == "num_frames"


@pytest.mark.parametrize(("written", "value"), [("1.5", 1.5), ("6", 6.0), (".5", 0.5), ("1e1", 10.0), (6, 6.0)])
def test_numbers_may_be_written_as_text(written: object, value: float) -> None:
    assert field("guidance_scale", written) == value


@pytest.mark.parametrize("written", ["1_0.5", "１.5", "nan", "inf", "1e400", float("inf"), "", True])
def test_what_is_no_finite_number_is_refused_by_name(written: object) -> None:
    assert refused("guidance_scale", written).param == "guidance_scale"


@pytest.mark.parametrize("written", ["９６x６４", "96x６4", "-96x64", "96×64", "96x64x3"])
def test_a_size_is_written_in_plain_digits(written: str) -> None:
    assert refused("size", written).param == "size"
    assert field("size", " 96 X 64 ") == (96, 64)


@pytest.mark.parametrize("written", [True, False, 2, 0, "2", "1_", 1.5])
def test_one_video_is_made_for_each_request_and_true_is_not_one(written: object) -> None:
    assert refused("n", written).param == "n"
    assert (field("n", 1), field("n", "1")) == (1, 1)


def test_the_name_of_an_unknown_field_is_not_echoed_at_full_length() -> None:
    problem = problem_of(refused("x" * 900_000, 1))
    assert problem.param == "x" * 80
    assert len(problem.message) < 200


@pytest.mark.parametrize(("given", "kept"), [("mine", "mine"), (12, "12"), ("a b/ü", "a b/ü")])
def test_a_request_id_is_a_word_or_an_integer(given: object, kept: str) -> None:
    assert request_id(given) == kept


@pytest.mark.parametrize("given", ["\n", " ", "a\nb", "a\tb", "\u200b", "\u2028", float("inf"), 1.5, True, ["a"]])
def test_a_request_id_of_anything_else_is_refused_by_name(given: object) -> None:
    with pytest.raises(InvalidField) as caught:
        request_id(given)
    assert caught.value.param == "request_id"


def request_id(given: object) -> object:
    fields = typed(GenerateVideo, {"model": "cogvideox-3", "prompt": "sea", "request_id": given})
    return request_of(fields, fallback_request_id="ours").origin["request_id"]


# ---------------------------------------------------------------- whatever is sent

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def blamed(read: Callable[[], object]) -> str | None:
    """The field that is blamed when it cannot be read; None when it can."""
    try:
        read()
    except RequestError as error:
        return (error.param or "nothing").partition("[")[0]
    return None


@given(st.sampled_from(sorted(CreateVideo.model_fields)), json_values)
def test_any_value_of_any_field_is_taken_or_refused_by_that_fields_name(name: str, value: object) -> None:
    pair = {"width", "height"} if name in ("width", "height") else set()  # which need each other
    body = {"prompt": "sea", name: value}
    assert blamed(lambda: openai_request_of(typed(CreateVideo, body))) in (None, name, *pair)


@given(json_values)
def test_any_value_of_a_picture_is_a_source_or_refused_by_name(value: object) -> None:
    assert blamed(lambda: read_picture(value, "input_reference")) in (None, "input_reference")


@given(st.integers(0, 99_999), st.integers(0, 99_999), st.sampled_from(["x", "X", " x "]))
def test_every_size_is_read_back(width: int, height: int, between: str) -> None:
    assert field("size", f"{width}{between}{height}") == (width, height)


@given(
    st.datetimes(
        datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5.5)))
    )
)
def test_every_time_is_read_back_from_rfc_3339_and_from_unix_seconds(moment: datetime) -> None:
    assert field("run_at", moment.isoformat(timespec="microseconds")) == moment
    unix = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)  # exact, unlike `timestamp()`
    assert field("run_at", unix) == moment.replace(microsecond=0)
    assert field("deadline", str(unix)) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    "written",
    ["2030-01-01", "2030-01-01T00:00", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", "1e400", "1e18", 1e308, "-1", -1,
     True, [1], "",
     "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+14:00", "2030-01-01T00:00:00+99:00"],
)  # fmt: skip
def test_what_is_no_time_with_its_zone_is_refused_by_name(written: object) -> None:
    assert refused("run_at", written).param == "run_at"


def test_json_with_more_values_than_any_request_has_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidField) as caught:
        parse_object('{"a": [' + "1," * 10_001 + "1]}", param="extra_body")
    assert caught.value.param == "extra_body"


def test_a_file_field_that_nobody_touched_is_absent_and_an_empty_file_is_not() -> None:
    untouched, empty = UploadedFile("", b""), UploadedFile("mill.png", b"")
    assert nested([("prompt", "sea"), ("input_reference", untouched)]) == {"prompt": "sea"}
    assert nested([("prompt", "sea"), ("input_reference", empty)])["input_reference"] is empty
    source = read_picture(empty, "input_reference")
    assert isinstance(source, ImageBytes)
    with pytest.raises(InvalidField):
        check_picture(source.data, FetchSettings())
