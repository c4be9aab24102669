"""A process's imports run without the garbage collector, and leave it as it was."""

from __future__ import annotations

import gc

import pytest

from orchestrator.kit.importing import quickly


def test_nothing_is_collected_meanwhile_nor_looked_at_afterwards() -> None:
    frozen = gc.get_freeze_count()
    try:
        with quickly():
            assert not gc.isenabled()
            imported = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + len(imported)
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("on", [True, False])
def test_an_import_that_fails_leaves_it_as_it_was(on: bool) -> None:
    try:
        (gc.enable if on else gc.disable)()
        with pytest.raises(ImportError), quickly():
            raise ImportError("no module named torch")
        assert gc.isenabled() == on
    finally:
        gc.enable()
        gc.unfreeze()
