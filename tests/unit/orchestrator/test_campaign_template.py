"""Templates: names in braces and nothing else, refused by name, rendered in bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.template import MAX_RENDERED_CHARS, Template


def _parse(text: str) -> Template:
    return Template.parse(text, "prompt")


def test_variables_are_filled_in_and_named_in_the_order_of_their_first_use() -> None:
    template = _parse("a {product} in {city}, {product} again")
    assert template.variables == ("product", "city")
    assert template.render({"product": "mug", "city": "Köln", "unused": "x"}) == "a mug in Köln, mug again"


def test_a_text_without_braces_is_a_template_without_variables() -> None:
    assert _parse("a lighthouse").render({}) == "a lighthouse"
    assert _parse("").render({}) == ""


def test_braces_written_twice_are_braces() -> None:
    assert _parse("{{ {a} }} {{b}}").render({"a": "1"}) == "{ 1 } {b}"
    assert _parse("{{{a}").render({"a": "x"}) == "{x"


def test_what_a_value_holds_is_never_read_as_a_template() -> None:
    assert _parse("{a} {b}").render({"a": "{b} %s {0.__class__}", "b": "x"}) == "{b} %s {0.__class__} x"


@pytest.mark.parametrize("name", ["product", "_x1", "Farbe des Bechers", "日本語", "उत्पाद", "naïve"])
def test_names_have_letters_of_any_language_digits_and_spaces(name: str) -> None:
    assert _parse(f"{{{name}}}").render({name: "v"}) == "v"


def test_accents_are_one_letter_however_they_are_encoded() -> None:
    assert _parse("{cafe\u0301}").variables == ("caf\u00e9",)


@pytest.mark.parametrize(
    "attack",
    [
        "{0.__class__}", "{a.b}", "{a[0]}", "{a!r}", "{a:>10}", "{a:>9999999999}", "{0}", "{a.__init__.__globals__}",
        "{a-b}", "{1a}", "{a\nb}", "{a}{b!s}",
    ],
)  # fmt: skip
def test_attributes_items_conversions_and_formats_are_refused_by_name(attack: str) -> None:
    with pytest.raises(InvalidField, match="which is no variable") as caught:
        _parse(attack)
    assert (caught.value.param, caught.value.code) == ("prompt", "invalid_template")


@pytest.mark.parametrize(("text", "brace"), [("a { b", "{"), ("a } b", "}"), ("{a}}", "}"), ("{{a}", "}")])
def test_a_lone_brace_is_refused_with_its_place(text: str, brace: str) -> None:
    with pytest.raises(InvalidField, match="lone") as caught:
        _parse(text)
    assert f"a lone {brace} at position" in caught.value.message


def test_braces_without_a_name_are_refused() -> None:
    for text in ("{}", "{ }"):
        with pytest.raises(InvalidField, match="without a name"):
            _parse(text)


def test_a_name_or_a_template_of_endless_length_is_refused() -> None:
    with pytest.raises(InvalidField, match="more than 64"):
        _parse("{" + "a" * 65 + "}")
    with pytest.raises(InvalidField, match="at most 20000"):
        _parse("a" * 20_001)


def test_a_variable_without_a_value_is_named() -> None:
    with pytest.raises(InvalidField) as caught:
        _parse("a {product}").render({"city": "x"})
    assert (caught.value.param, caught.value.code) == ("product", "missing")


def test_a_long_value_in_many_places_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(InvalidField, match=str(MAX_RENDERED_CHARS)) as caught:
        _parse("{a}{b}" * 3000).render({"a": "x" * 10_000_000, "b": "y"})
    assert caught.value.param == "a"


def test_a_template_tells_when_it_is_one_variable_alone() -> None:
    assert [_parse(text).sole for text in ("{prompt}", " {prompt} ", "a {prompt}", "{a}{a}", "x")] == [
        "prompt", "prompt", None, None, None,
    ]  # fmt: skip


@given(st.text(max_size=40))
def test_any_text_parses_or_names_the_field(text: str) -> None:
    refused = None
    try:
        template = _parse(text)
        template.render(dict.fromkeys(template.variables, "v"))
    except InvalidField as error:
        refused = error.param
    assert refused in (None, "prompt")


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_a_text_with_its_braces_doubled_renders_as_it_was(text: str) -> None:
    assert _parse(text.replace("{", "{{").replace("}", "}}")).render({}) == text
