"""The tiny checkpoints for tests: made once per test process, with the real classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.catalog import FAMILIES
from workers import tiny


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint's path for a tiny family's name; made at the first call.

    Torch gets one thread, as in an actor on a CPU: results then agree to the last bit between the threads of a test,
    and parallel tests do not spin on each other's cores.
    """
    import torch

    torch.set_num_threads(1)
    directory = tmp_path_factory.getbasetemp() / "models"

    def path_of(family: str) -> Path:
        return tiny.make(FAMILIES[family], directory)

    return path_of
