"""The store is one class of many parts: none of them replaces another's method without saying so."""

from __future__ import annotations

from collections import defaultdict

from orchestrator.store.store import Store


def test_no_two_parts_of_the_store_define_the_same_name() -> None:
    owners: dict[str, list[str]] = defaultdict(list)
    for part in Store.__mro__[:-1]:
        for name in vars(part):
            if not name.startswith("__"):
                owners[name].append(f"{part.__module__}.{part.__qualname__}")
    assert len(owners) > 100, "the parts were looked at"
    assert {name: parts for name, parts in owners.items() if len(parts) > 1} == {}
