"""What every dialect of the tuple keeps to, and the smallest one that there can be."""

from __future__ import annotations

import pytest
from fastapi.routing import iter_route_contexts

from api.app import create_app
from api.dialects import DIALECTS, lines_of
from api.shared.dialect import Dialect
from tests.support import third_dialect
from tests.support.api import api_settings

ALL = (*DIALECTS, third_dialect.DIALECT)
SETTINGS = api_settings("postgresql://nowhere/none")


def paths(*dialects: Dialect) -> set[str]:
    return {each.original_route.path for each in iter_route_contexts(create_app(SETTINGS, dialects=dialects).routes)}


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_every_route_of_a_dialect_lies_below_its_prefix_and_its_bounds_are_of_them(dialect: Dialect) -> None:
    own = paths(dialect) - paths()
    assert own
    assert all(path.startswith(dialect.prefix) for path in own)
    for beginning in (*dialect.bodies, *([f"{dialect.base_url}/"] if dialect.base_url else [])):
        assert any(path.startswith(beginning) for path in own)


def test_a_batch_finds_its_lines_by_the_name_of_its_dialect() -> None:
    names = [dialect.name for dialect in ALL]
    assert len(set(names)) == len(names)
    assert set(lines_of(SETTINGS)) == {"openai", "bigmodel"}, "rows in the database have these names"
    assert set(lines_of(SETTINGS, ALL)) == {"openai", "bigmodel", "films"}
