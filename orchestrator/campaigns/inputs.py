"""Where a campaign's rows come from: a file, an object below a prefix of the tenant's, or an upload to a signed URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.campaigns.asking import prefixes
from orchestrator.campaigns.reading.formats import Format
from orchestrator.config import Settings
from orchestrator.domain.campaign import Input
from orchestrator.domain.errors import InvalidField, NotFound, ObjectsRefused, ObjectsUnavailable, TooLarge, Unsupported
from orchestrator.domain.objects import file_key
from orchestrator.intake.files import Files, new_file_id
from orchestrator.kit.threads import Threads
from orchestrator.ports import ObjectStore

_PARAM = "input"
UPLOAD_S = 3600
_DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Where an input may be put, by whoever has the URL."""

    url: str
    expires_at: datetime
    input: Input


class Inputs:
    """Finds what an owner names. Whatever is not the tenant's own is not there."""

    def __init__(self, settings: Settings, objects: ObjectStore, files: Files) -> None:
        self._settings = settings
        self._objects = objects
        self._files = files
        self._threads = Threads("s3-campaigns", count=4, deadline_s=_DEADLINE_S)

    async def named(self, tenant: str, source: str, form: str | None) -> Input:
        """The input that `source` names: `file-…` or `s3://bucket/key`. Raises a `RequestError` about `input`."""
        _check_form(form)
        if source.startswith("s3://"):
            key = self.own_key(tenant, source, _PARAM)
            return Input(source=source, key=key, format=form, size=await self._size(key, source))
        try:
            file = await self._files.get(tenant, source)
        except NotFound as error:
            raise InvalidField(f"names a file that is not there: {error.message}", param=_PARAM) from None
        return Input(source=source, key=file.object.key, format=form, size=file.object.size)

    async def offer(self, tenant: str) -> Upload:
        """A URL to put an input to, once or several times, for an hour. Raises `LimitExceeded` without any room."""
        await self._files.check_room(tenant, files=0, size=1)
        key = file_key(tenant, new_file_id())
        url = self._objects.presign_put(key, lifetime_s=UPLOAD_S)
        expires_at = datetime.now(UTC) + timedelta(seconds=UPLOAD_S)
        return Upload(url=url, expires_at=expires_at, input=Input(source="upload", key=key))

    async def uploaded(self, tenant: str, offered: Input, form: str | None) -> Input:
        """What was put there. Raises `InvalidField` while nothing was, `LimitExceeded` where it is too much."""
        _check_form(form)
        size = await self._size(offered.key, "what should have been put to the upload's URL")
        await self._files.check_room(tenant, files=0, size=size)
        return replace(offered, format=form, size=size)

    def own_key(self, tenant: str, uri: str, param: str) -> str:
        """The key that an `s3://` address of the tenant's names. Raises a `RequestError` about `param`."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        allowed = prefixes(self._settings.campaigns.s3_inputs, tenant)
        return own_key(bucket, key, own=self._settings.s3.bucket, allowed=allowed, param=param)

    async def _size(self, key: str, what: str) -> int:
        try:
            size = await self._threads.run(self._objects.size, key)
        except NotFound:
            raise InvalidField(f"is not there: {what}", param=_PARAM) from None
        except ObjectsRefused:
            raise InvalidField(f"is no key that S3 takes: {what}", param=_PARAM) from None
        except TimeoutError:
            raise ObjectsUnavailable(f"S3 did not answer within {_DEADLINE_S:g} s") from None
        if size > self._settings.campaigns.max_input_bytes:
            most = self._settings.campaigns.max_input_bytes
            raise TooLarge(f"has {size} bytes; at most {most} are allowed", param=_PARAM)
        return size


def own_key(bucket: str, key: str, *, own: str, allowed: Sequence[str], param: str) -> str:
    """A key of our bucket below one of the prefixes that are allowed. Raises a `RequestError` about `param`."""
    if bucket != own:
        raise Unsupported(f"must lie in this deployment's own bucket, {own}", param=param)
    if not any(key.startswith(prefix) and len(key) > len(prefix) for prefix in allowed):
        below = " or ".join(f"s3://{own}/{prefix}" for prefix in allowed)
        raise Unsupported(f"must lie below {below or 'nothing: this deployment reads no s3:// addresses'}", param=param)
    if ".." in key.split("/"):
        raise InvalidField("must not lead upwards", param=param)
    return key


def _check_form(form: str | None) -> None:
    if form is not None and form not in list(Format):
        raise InvalidField(f"must be one of {', '.join(Format)}, not {form[:80]!r}", param="format")
