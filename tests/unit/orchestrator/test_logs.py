"""Lines that come by the thousand are those that structlog would have written."""

from __future__ import annotations

import json
import subprocess
import sys

_BOTH = """
from orchestrator.config import LogSettings
from orchestrator.telemetry import logs
logs.configure(LogSettings(**{settings}))
fields = {{"route": "/v1/videos", "key": None, "bytes": 3, "path": "caf\\u00e9 \\n"}}
logs.often("access", "request", **fields)
logs.get("access").info("request", **fields)
"""


def lines(**settings: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _BOTH.format(settings=settings)], capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()


def test_a_line_that_is_written_at_once_is_like_any_other() -> None:
    quick, usual = map(json.loads, lines())
    assert len(quick.pop("timestamp")) == len(usual.pop("timestamp"))
    assert quick == usual


def test_it_goes_where_the_others_go_for_a_console_and_nowhere_where_they_do_not() -> None:
    quick, usual = lines(format="console")
    assert quick.split(" ", 1)[1] == usual.split(" ", 1)[1]
    assert lines(level="warning") == []
