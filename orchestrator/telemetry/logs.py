"""Structured logs: one event per line, with the job, attempt and worker that it is about."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from orchestrator.domain.trace import trace_id_of
from orchestrator.telemetry import tracing

if TYPE_CHECKING:
    from orchestrator.config import LogSettings
    from orchestrator.domain.job import Claim


def configure(settings: LogSettings, **always: object) -> None:
    """Send structlog's and the standard library's records to stderr, as JSON or for a console.

    `always` are fields of every record of this process, such as the worker that it is.
    """

    def add_always(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**always, **event}

    shared: list[structlog.typing.Processor] = [
        add_always,
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if settings.format == "json" else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    global _quickly
    _quickly = settings.format == "json" and not always and logging.getLogger().isEnabledFor(logging.INFO)
    for noisy in ("alembic", "botocore", "boto3", "urllib3", "s3transfer", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It tells of each try to reach a collector that is away.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)


# Whether lines that come by the thousand are written as JSON at once.
_quickly = False


def _add_trace(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Where in a trace a line belongs, unless it says so itself."""
    here = tracing.current()
    if here is not None and "trace_id" not in event:
        event["trace_id"], event["span_id"] = here.trace_id, here.span_id
    return event


def trace_fields() -> dict[str, str]:
    """The same for lines that `often` writes."""
    here = tracing.current()
    return {} if here is None else {"trace_id": here.trace_id, "span_id": here.span_id}


def often(component: str, event: str, **fields: object) -> None:
    """One line as any other, for what happens a thousand times a second: structlog takes several times as long."""
    if not _quickly:
        structlog.get_logger().info(event, component=component, **fields)
        return
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = json.dumps({"component": component, "event": event, **fields, "level": "info", "timestamp": now})
    with suppress(OSError, ValueError):  # as the standard library's handlers: nobody reads the log any more
        sys.stderr.write(f"{line}\n")


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that carries its component's name."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(component=name)
    return logger


def fields(claim: Claim) -> dict[str, object]:
    """The fields that every event about a claim carries."""
    return {
        "job": claim.job_id.hex,
        "attempt": claim.number,
        "tenant": claim.tenant,
        "pool": claim.pool,
        "worker": claim.worker.name,
    } | of_trace(claim.trace)


def of_trace(kept: str | None) -> dict[str, str]:
    """The trace of a row, for lines about it."""
    trace_id = trace_id_of(kept)
    return {} if trace_id is None else {"trace_id": trace_id}
