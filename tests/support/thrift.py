"""What keeps the tests' processes from spending their time on themselves: on rubbish that is none, and on colours."""

from __future__ import annotations

import gc

import structlog

# Thousands of modules are imported from here on, and collections would look through them again and again.
gc.disable()


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection needs to walk over torch again, ours or one that a test asks for."""
    gc.collect()
    gc.freeze()
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
