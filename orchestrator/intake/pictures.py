"""Pictures that callers bring: fetched, read or decoded, checked, and kept in S3 by their content."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import Protocol

from uuid_utils.compat import uuid7

from orchestrator.adapters.fetch import Fetcher
from orchestrator.config import FetchSettings
from orchestrator.domain.errors import (
    IntegrityError,
    InvalidField,
    NotFound,
    ObjectsUnavailable,
    TooLarge,
    Unavailable,
)
from orchestrator.domain.job import Artifact
from orchestrator.domain.objects import input_key
from orchestrator.domain.request import ImageBytes, ImageObject, ImageSource, ImageUrl
from orchestrator.kit.threads import Threads
from orchestrator.pictures.apart import decoders
from orchestrator.pictures.measuring import check_bytes
from orchestrator.ports import InputStore, ObjectStore, Picture
from orchestrator.tenants.turns import Turns

DEADLINE_S = 20.0

_UPLOADERS = 16

# Of one tenant: so that its slow servers leave connections and resolvers for the others, and its pictures queue up
# behind each other and not before everybody else's: the line before the decoders holds one of each tenant.
_READS_OF_TENANT = 8
_DECODES_OF_TENANT = 1


class FileReader(Protocol):
    """The files that tenants uploaded."""

    async def read(self, tenant: str, file_id: str, *, max_bytes: int) -> bytes:
        """The file's content. Raises `NotFound`, `TooLarge` or `Unavailable`."""
        ...


class Pictures:
    """Implements `ports.Inputs`."""

    def __init__(
        self,
        settings: FetchSettings,
        store: InputStore,
        objects: ObjectStore,
        files: FileReader,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._files = files
        self._fetcher = fetcher or Fetcher(settings)
        self._reads = Turns(_READS_OF_TENANT, wait_s=DEADLINE_S)
        self._decodes = Turns(_DECODES_OF_TENANT, wait_s=DEADLINE_S)
        self._decoders = decoders(settings.max_image_bytes, settings.max_image_pixels)
        self._uploading = Threads("s3-inputs", count=_UPLOADERS, deadline_s=DEADLINE_S)

    async def load(self, tenant: str, source: ImageSource) -> Picture:
        data = await self._read(tenant, source)
        check_bytes(data, self._settings)
        try:
            async with self._decodes.of(tenant), asyncio.timeout(DEADLINE_S):
                return await asyncio.wrap_future(self._decoders.check(data))
        except TimeoutError:
            raise Unavailable(f"the image could not be checked within {DEADLINE_S:g} s") from None

    async def keep(self, picture: Picture) -> Artifact:
        sha256 = hashlib.sha256(picture.data).hexdigest()
        found = await self._store.use_input(sha256)
        if found is not None:
            return found
        kind = picture.content_type.removeprefix("image/")
        uploaded = await self._upload(input_key(sha256, uuid7(), kind), picture)
        kept = await self._store.add_input(uploaded)
        if kept.key != uploaded.key:  # another request with the same picture was quicker
            with suppress(ObjectsUnavailable, TimeoutError):  # then the sweeper finds it
                await self._uploading.run(self._objects.delete, [uploaded.key])
        return kept

    async def _read(self, tenant: str, source: ImageSource) -> bytes:
        if isinstance(source, ImageBytes):
            return source.data
        try:
            async with self._reads.of(tenant):
                if isinstance(source, ImageUrl):
                    return await self._fetcher.image(source.url)
                if isinstance(source, ImageObject):
                    return await self._read_object(source.key)
                return await self._read_file(tenant, source.file_id)
        except TimeoutError:
            raise Unavailable(f"too many images of {tenant} are being read at this moment") from None

    async def _read_file(self, tenant: str, file_id: str) -> bytes:
        try:
            return await self._files.read(tenant, file_id, max_bytes=self._settings.max_image_bytes)
        except NotFound as error:
            raise InvalidField(f"names a file that is not there: {error.message}", param="image") from None
        except TooLarge as error:
            raise TooLarge(error.message, param="image") from None

    async def _read_object(self, key: str) -> bytes:
        largest = self._settings.max_image_bytes
        try:
            size = await self._uploading.run(self._objects.size, key)
            if size > largest:
                raise TooLarge(f"has {size} bytes; at most {largest} are allowed", param="image")
            return await self._uploading.run(self._objects.get, key)
        except NotFound:
            raise InvalidField(f"names an object that is not there: {key[:200]}", param="image") from None

    async def _upload(self, key: str, picture: Picture) -> Artifact:
        try:
            return await self._uploading.run(self._objects.put, key, picture.data, picture.content_type)
        except TimeoutError:
            raise ObjectsUnavailable(f"S3 did not take the image within {DEADLINE_S:g} s") from None
        except (IntegrityError, NotFound) as error:  # it was written, and does not read back
            raise ObjectsUnavailable(f"S3 did not keep the image: {error}") from error
