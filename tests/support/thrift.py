"""What keeps the tests' processes from spending their time on themselves: on rubbish, colours and commands."""

from __future__ import annotations

import gc
from functools import cache

import structlog
import typer.main
import typer.testing

# Thousands of modules are imported from here on, and collections would look through them again and again.
gc.disable()

# What tests leave in cycles is little, and each look for it walks over the fixtures and reports of those before.
_GC_THRESHOLDS = (20_000, 20, 20)

# Typer makes all commands of `cogmill` anew for each that is run, from the signatures of their functions: 0.07 s of CPU
# time, hundreds of times. They are the same each time, and keep nothing of a run.
_made_once = cache(typer.main.get_command)
for module, name in ((typer.main, "get_command"), (typer.testing, "_get_command")):
    setattr(module, name, _made_once)


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection needs to walk over torch again, ours or one that a test asks for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()


def pytest_configure() -> None:
    """Until a test configures the logs, tracebacks in them are plain: structlog's own take a tenth of a second each."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
