"""The device that the checks run on; without a GPU they are skipped."""

from __future__ import annotations

import os

import pytest
import torch

from tests.support.noskip import NEEDS_GPU


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip(NEEDS_GPU)
    return torch.device("cuda")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The same; or the CPU, where COGMILL_REHEARSE_GPU=1 asks to see what can run there run at all."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ.get("COGMILL_REHEARSE_GPU") != "1":
        pytest.skip(NEEDS_GPU)
    torch.set_num_threads(1)
    return torch.device("cpu")
