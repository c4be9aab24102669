"""Files of a tenant: kept, listed, read, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from uuid_utils.compat import uuid7

from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField, NotFound, ObjectsUnavailable, TooLarge, Unsupported
from orchestrator.domain.objects import FILE_ID, file_key
from orchestrator.domain.texts import check_text
from orchestrator.kit.threads import Threads
from orchestrator.ports import ObjectStore
from orchestrator.ports.files import File, FilePage, FileStore, NewFile

P = ParamSpec("P")
T = TypeVar("T")

BATCH = "batch"
VISION = "vision"
CAMPAIGN = "campaign"
BATCH_OUTPUT = "batch_output"
# What a caller may upload a file for. The others that the vendors have belong to services that are not ours.
PURPOSES = (BATCH, VISION, CAMPAIGN, "user_data")

MIN_LIFETIME_S, MAX_LIFETIME_S = 3600, 30 * 24 * 3600  # OpenAI's bounds for `expires_after`

# An upload of the largest file, and reading it back.
DEADLINE_S = 300.0
_THREADS = 8

_MAX_NAME_CHARS = 255


def new_file_id() -> str:
    """`file-` and the 32 hex digits of a UUIDv7, which sort by time."""
    return f"file-{uuid7().hex}"


class Files:
    """A tenant's files. Every id that is not one of the tenant's own raises `NotFound`, whatever the reason."""

    def __init__(self, settings: Settings, store: FileStore, objects: ObjectStore) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        # Apart from all other threads: an S3 that hangs must not take those that others need.
        self._threads = Threads("s3-files", count=_THREADS, deadline_s=DEADLINE_S)

    async def add(
        self, tenant: str, path: Path, *, filename: str, purpose: str, content_type: str, lifetime_s: int | None
    ) -> File:
        """Upload a scratch file, then insert its row: a row's object is always there.

        A file of a batch is kept as long as a video, unless `lifetime_s` says otherwise; any other until it is deleted.
        Raises a `RequestError` before anything is uploaded, or `Unavailable`.
        """
        if purpose not in PURPOSES:
            raise Unsupported(f"must be one of {', '.join(PURPOSES)}, not {purpose[:80]!r}", param="purpose")
        check_text(filename, "file", max_chars=_MAX_NAME_CHARS)
        size = (await asyncio.to_thread(path.stat)).st_size
        self._check_size(size, purpose)
        if lifetime_s is not None and not MIN_LIFETIME_S <= lifetime_s <= MAX_LIFETIME_S:
            raise InvalidField(
                f"must be between {MIN_LIFETIME_S} and {MAX_LIFETIME_S} seconds, not {lifetime_s}",
                param="expires_after",
            )
        await self.check_room(tenant, files=1, size=size)
        file_id = new_file_id()
        key = file_key(tenant, file_id)
        kept_s: float | None = lifetime_s
        if kept_s is None and purpose == BATCH:
            kept_s = self._settings.retention.jobs_s
        return await self._store.add_file(
            NewFile(
                id=file_id,
                tenant=tenant,
                purpose=purpose,
                filename=filename,
                object=await self._in_time(self._objects.upload, key, path, content_type),
                lifetime_s=kept_s,
            )
        )

    async def check_room(self, tenant: str, *, files: int, size: int) -> None:
        """Raise `LimitExceeded` where so many more files, of so many bytes, are too many."""
        await self._store.check_room(tenant, files=files, size=size)

    async def get(self, tenant: str, file_id: str) -> File:
        """The file's row."""
        found = await self._store.get_file(file_id, tenant) if FILE_ID.fullmatch(file_id) else None
        if found is None:
            raise _not_found(file_id)
        return found

    async def list(
        self,
        tenant: str,
        *,
        limit: int,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        purpose: str | None = None,
    ) -> FilePage:
        """A page of files by creation time, starting behind the file `after`, which may be gone by now."""
        if after is not None and not FILE_ID.fullmatch(after):
            raise _not_found(after, param="after")
        check_text(purpose or "", "purpose", max_chars=_MAX_NAME_CHARS)
        return await self._store.list_files(tenant, limit=limit, after=after, order=order, purpose=purpose)

    async def delete(self, tenant: str, file_id: str) -> None:
        """Hide the file for good; its object is swept later, and what an open batch reads after that has ended."""
        if not FILE_ID.fullmatch(file_id) or not await self._store.delete_file(file_id, tenant):
            raise _not_found(file_id)

    async def read(self, tenant: str, file_id: str, *, max_bytes: int) -> bytes:
        """The whole content of a small file. Raises `TooLarge` before a byte of a larger one is read."""
        file = await self.get(tenant, file_id)
        if file.object.size > max_bytes:
            raise TooLarge(f"the file {file_id} has {file.object.size} bytes; at most {max_bytes} are allowed")
        try:
            return await self._in_time(self._objects.get, file.object.key)
        except NotFound:  # deleted and swept since
            raise _not_found(file_id) from None

    async def _in_time(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._threads.run(call, *args, **kwargs)
        except TimeoutError:
            raise ObjectsUnavailable(f"S3 did not answer within {DEADLINE_S:g} s") from None

    def _check_size(self, size: int, purpose: str) -> None:
        if size == 0:
            raise InvalidField("is empty", param="file")
        settings = self._settings
        bounds = {VISION: settings.fetch.max_image_bytes, CAMPAIGN: settings.campaigns.max_input_bytes}
        largest = bounds.get(purpose, settings.batches.max_file_bytes)
        if size > largest:
            raise TooLarge(f"has {size} bytes; a {purpose} file may have at most {largest}", param="file")


def _not_found(file_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no file with the id {file_id[:80]!r}", param=param)
