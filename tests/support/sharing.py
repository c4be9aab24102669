"""Which tests share a process where several run side by side: those of a file, and those that share a whole stack."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Where tests use the session's stack (`tests/support/stack.py`), of which each process has one of its own.
_ON_A_STACK = "tests/acceptance/"


class _Scheduling(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return "on a stack" if nodeid.startswith(_ON_A_STACK) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Scheduling | None:
    """`--dist loadfile`, but for that; every other way stays as it is."""
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None
