"""A device that has no more memory, as a render's failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise `RenderFailed` (`out_of_memory`) in place of torch's own error, whose message is a page long."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RenderFailed(FailureCode.OUT_OF_MEMORY, str(error).partition(". ")[0]) from None
