"""The tiny checkpoints for tests: made once per test process, with the real classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.catalog import FAMILIES


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint's path for a tiny family's name; made at the first call."""
    directory = tmp_path_factory.getbasetemp() / "models"

    def path_of(family: str) -> Path:
        from workers import tiny

        return tiny.make(FAMILIES[family], directory)

    return path_of
