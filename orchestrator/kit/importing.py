"""A process's imports, thousands of modules, without the garbage collector looking through them again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quickly() -> Iterator[None]:
    """What is imported here stays for good: nothing is collected meanwhile, nor looked at by any collection after it.

    A tenth of the CPU time of a service's imports, and more of diffusers', goes into collections that find next to
    nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
