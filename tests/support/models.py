"""The tiny checkpoints for tests, made once per test process with the real classes, and models loaded from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import FAMILIES
from workers import tiny

if TYPE_CHECKING:
    from workers.cogvideox import CogVideoX

Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
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


def a_model(path: Path, family: str, **settings: Any) -> CogVideoX:
    """The checkpoint at `path` on the CPU, as a worker of a pool with these settings has it; without adapters."""
    import torch

    from workers import loading, numerics
    from workers.acceleration import Acceleration
    from workers.adapters import Adapters
    from workers.cogvideox import CogVideoX

    device = torch.device("cpu")
    pipeline = loading.load(path, FAMILIES[family], device, torch.float32)
    pool = PoolSettings(model=family, **settings)
    return CogVideoX(
        pipeline,
        FAMILIES[family],
        device,
        acceleration=Acceleration.prepare(pipeline.transformer, FAMILIES[family], device, pool),
        adapters=Adapters(pipeline, {}, Path, pool.adapters_cached),
        revision=numerics.revision(path),
    )
