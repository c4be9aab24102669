"""Objects whose upload never came to a row, as a crash leaves them: found by listing, deleted when they are old."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol
from uuid import UUID

from orchestrator.domain.errors import ObjectsRefused
from orchestrator.ports import ObjectStore
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("orphans")

# Far longer than any upload takes to come to its row.
AGE_S = 24 * 3600.0
_PAGE = 1000

# Which of these keys, and when each was made, no row knows.
Unknown = Callable[[Mapping[str, datetime]], Awaitable[Collection[str]]]


class Deletes(Protocol):
    """The one part of `ObjectStore` that deleting needs."""

    def delete(self, keys: Iterable[str]) -> None: ...


async def sweep_orphans(objects: ObjectStore, prefix: str, key: re.Pattern[str], unknown: Unknown) -> int:
    """Delete the keys below `prefix` that `unknown` names; how many. Raises `Unavailable`.

    The first group of `key` is the hex digits of a UUIDv7, whose time is the object's. What does not match is nobody's
    to delete.
    """
    total = 0
    found = (match for name in objects.list_keys(prefix) if (match := key.fullmatch(name)))
    while page := await asyncio.to_thread(lambda: list(islice(found, _PAGE))):
        orphans = await unknown({match[0]: _made_at(match[1]) for match in page})
        total += len(orphans) - len(await delete_all(objects, orphans, "orphans"))
    if total:
        _log.info("orphans_swept", prefix=prefix, objects=total)
    return total


async def delete_all(objects: Deletes, keys: Collection[str], loop: str) -> frozenset[str]:
    """Delete these keys, and count them; those that S3 refuses to delete. Raises `ObjectsUnavailable`."""
    refused: frozenset[str] = frozenset()
    try:
        await asyncio.to_thread(objects.delete, keys)
    except ObjectsRefused as error:
        aside.put(loop, error, keys=len(error.keys))
        refused = error.keys
    metrics.swept_objects.inc(len(keys) - len(refused))
    return refused


def _made_at(uuid7: str) -> datetime:
    """The moment in the first 48 bits, in milliseconds (RFC 9562, section 5.7)."""
    return datetime.fromtimestamp((UUID(hex=uuid7).int >> 80) / 1000, UTC)
