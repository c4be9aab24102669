"""`ObjectStore` on S3 through boto3: every upload is read back, every error is one of ours."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit
from uuid import uuid4

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import JSONFileLoader
from botocore.session import Session as BotocoreSession

from orchestrator.adapters import read_back, s3_timing
from orchestrator.adapters.s3_keys import KeysOfFiles, keys_of
from orchestrator.config import S3Settings
from orchestrator.domain.addresses import is_loopback
from orchestrator.domain.errors import IntegrityError, InvalidField, NotFound, ObjectsRefused, ObjectsUnavailable
from orchestrator.domain.job import Artifact
from orchestrator.domain.objects import PROBES
from orchestrator.ports.objects import Signed

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

# S3's own limits: parts of one upload, and keys of one DeleteObjects call.
_MAX_PARTS = 10_000
_MAX_DELETE = 1_000
_MIN_PART = 8 * 2**20
_CHUNK = 64 * 1024
_NOT_FOUND = frozenset({"404", "NoSuchKey"})
# Refusals of the moment, and none of the object: trying again helps.
_BUSY = frozenset({"SlowDown", "Throttling", "RequestTimeout", "RequestTimeTooSkewed", "429"})


class Listed(NamedTuple):
    """One object: `size` is bytes; `etag` changes with its content, and is no checksum that one could rely on."""

    key: str
    size: int
    etag: str


class _Descriptions(JSONFileLoader):
    """botocore's descriptions of the service, read once for all clients of a process: most of what a client costs."""

    @cache  # noqa: B019 (there is one, for as long as the process lives)
    def load_file(self, file_path: str) -> Any:
        return super().load_file(file_path)


_DESCRIPTIONS = _Descriptions()


class S3Objects:
    """One bucket. Thread-safe, and cheap in memory: no method but `get` and `put` holds a whole object.

    `files` are those that its keys come from (`Settings.s3_files`): they count as they are at each request.
    """

    def __init__(self, settings: S3Settings, files: Mapping[str, Path] | None = None) -> None:
        self._settings = settings
        self._deletes_together = True
        files = {} if files is None else files
        keys = keys_of(files, "")
        self._client = _client(settings, settings.endpoint_url, keys)
        public = settings.public_url or settings.endpoint_url
        same = public == settings.endpoint_url and settings.signing_access_key is None
        if settings.signing_access_key is not None:
            keys = keys_of(files, "signing_")
        self._signing_client = self._client if same else _client(settings, public, keys, signing=True)

    # ------------------------------------------------------------ writing

    def put(self, key: str, data: bytes, content_type: str) -> Artifact:
        artifact = read_back.of_bytes(key, data, content_type)
        with _our_errors(key):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)
        self.verify(artifact)
        return artifact

    def upload(
        self, key: str, path: Path, content_type: str, *, on_progress: Callable[[], None] | None = None
    ) -> Artifact:
        artifact = read_back.of_file(key, path, content_type)
        with _our_errors(key):
            self._client.upload_file(
                str(path),
                self._bucket,
                key,
                ExtraArgs={"ContentType": content_type},
                Callback=None if on_progress is None else lambda _: on_progress(),
                Config=transfer_config(artifact.size, self._settings.multipart_threshold_bytes),
            )
        self.verify(artifact, on_progress=on_progress)
        return artifact

    def copy(self, source: str, key: str) -> None:
        with _our_errors(source):
            self._client.copy_object(Bucket=self._bucket, Key=key, CopySource={"Bucket": self._bucket, "Key": source})

    def delete(self, keys: Iterable[str]) -> None:
        remaining, refused = iter(keys), dict[str, str]()
        while batch := list(islice(remaining, _MAX_DELETE)):
            refused |= self._delete_batch(batch)
        if refused:
            key, why = next(iter(refused.items()))
            raise ObjectsRefused(f"S3 did not delete {len(refused)} objects, {key} first: {why}", keys=refused)

    def _delete_batch(self, batch: list[str]) -> dict[str, str]:
        """Delete these at once, or one by one on a server that does not take that; those that it refuses, and why."""
        if self._deletes_together:
            try:
                with _our_errors(batch[0]):
                    answer = self._client.delete_objects(
                        Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                    )
                return {error.get("Key", ""): error.get("Code", "") for error in answer.get("Errors", ())}
            except ObjectsRefused:
                # Of some it is not to be had, of others not in the form that we send. One by one says what is refused.
                pass
        refused = dict[str, str]()
        for key in batch:
            try:
                with _our_errors(key):
                    self._client.delete_object(Bucket=self._bucket, Key=key)
            except NotFound:
                continue
            except ObjectsRefused as error:
                refused[key] = str(error)
        self._deletes_together = self._deletes_together and bool(refused)
        return refused

    # ------------------------------------------------------------ reading

    def get(self, key: str) -> bytes:
        return b"".join(self.stream(key))

    def size(self, key: str) -> int:
        with _our_errors(key):
            return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        # A body that breaks off is taken up again where it broke: keys are written once, so the bytes are the same.
        position = start
        for attempts_left in reversed(range(self._settings.max_attempts)):
            try:
                response = self._open(key, position, end)
            except InvalidField as error:
                if position == start:
                    raise
                raise IntegrityError(f"{key} ends at byte {position}, sooner than S3 said") from error
            stop = position + response["ContentLength"]
            try:
                with closing(response["Body"]) as body:
                    for chunk in body.iter_chunks(_CHUNK):
                        position += len(chunk)
                        yield chunk
                return
            except BotoCoreError as error:
                if position >= stop:
                    return
                if not attempts_left:
                    raise ObjectsUnavailable(f"S3 broke off {key} at byte {position}: {error}") from error

    def verify(self, artifact: Artifact, *, on_progress: Callable[[], None] | None = None) -> None:
        read_back.compare(artifact, self.stream(artifact.key), on_progress)

    def list_keys(self, prefix: str) -> Iterator[str]:
        return (listed.key for listed in self.list_objects(prefix))

    def list_objects(self, prefix: str) -> Iterator[Listed]:
        """The objects below a prefix, as S3 itself describes them."""
        with _our_errors(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                yield from (Listed(item["Key"], item["Size"], item["ETag"]) for item in page.get("Contents", ()))

    def presign(self, key: str, *, lifetime_s: int, filename: str | None = None) -> str:
        params = {"Bucket": self._bucket, "Key": key}
        # Asked for in the URL, since not every S3 keeps what an upload said.
        if content_type := mimetypes.guess_type(key)[0]:
            params["ResponseContentType"] = content_type
        if filename is not None:
            params["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        with _our_errors(key):
            return self._signing_client.generate_presigned_url(
                "get_object", Params=params, ExpiresIn=self._signed_for_s(lifetime_s)
            )

    def presign_put(self, key: str, *, lifetime_s: int) -> str:
        with _our_errors(key):
            return self._signing_client.generate_presigned_url(
                "put_object",
                Params={"Bucket": self._bucket, "Key": key},
                ExpiresIn=self._signed_for_s(lifetime_s),
            )

    def sign(self, reads: Iterable[str], writes: Iterable[str], *, lifetime_s: int) -> Signed:
        """URLs on the inner endpoint that GET and PUT these keys and no other, for whoever has no keys of S3."""
        lifetime_s = self._signed_for_s(lifetime_s, self._client)

        def signed(call: str, key: str) -> str:
            params = {"Bucket": self._bucket, "Key": key}
            return self._client.generate_presigned_url(call, Params=params, ExpiresIn=lifetime_s)

        with _our_errors(self._bucket):
            return Signed(
                reads={key: signed("get_object", key) for key in reads},
                writes={key: signed("put_object", key) for key in writes},
                lifetime_s=lifetime_s,
            )

    def _signed_for_s(self, wanted_s: int, client: S3Client | None = None) -> int:
        """Seconds that a URL signed now may claim: as wanted, or less with credentials that end sooner."""
        left_s = _session_s(client or self._signing_client)
        return wanted_s if left_s is None else max(1, min(wanted_s, int(left_s)))

    # ------------------------------------------------------------ the bucket itself

    def ensure_bucket(self) -> None:
        """Create the bucket unless it exists. For the local stack only: elsewhere the platform team owns it."""
        already = (self._client.exceptions.BucketAlreadyExists, self._client.exceptions.BucketAlreadyOwnedByYou)
        with _our_errors(self._bucket), suppress(*already):
            self._client.create_bucket(Bucket=self._bucket)

    def check(self, also: Callable[[str], object] = lambda key: None) -> None:
        """Write, read back, list and delete one small object: all that Cogmill needs of the bucket. Raises as usual.

        `also` is asked what else should go with it while it is there.
        """
        key = f"{PROBES}{uuid4().hex}"
        self.put(key, b"cogmill doctor", "text/plain")
        if key not in self.list_keys(key):
            raise IntegrityError(f"{key} was written but is not listed")
        also(key)
        self.delete([key])

    @property
    def _bucket(self) -> str:
        return self._settings.bucket

    def _open(self, key: str, start: int, end: int | None) -> GetObjectOutputTypeDef:
        with _our_errors(key):
            if start == 0 and end is None:  # an empty object has no satisfiable range
                return self._client.get_object(Bucket=self._bucket, Key=key)
            span = f"bytes={start}-{'' if end is None else end}"
            return self._client.get_object(Bucket=self._bucket, Key=key, Range=span)


def _session_s(client: S3Client) -> float | None:
    """Seconds that a client's credentials are good for, renewed first if that is soon over; None: for ever."""
    credentials = client._request_signer._credentials  # type: ignore[attr-defined]
    if not isinstance(credentials, RefreshableCredentials):
        return None
    credentials.get_frozen_credentials()  # renews what ends within a quarter of an hour
    ends: datetime = credentials._expiry_time  # type: ignore[attr-defined]
    return (ends - datetime.now(UTC)).total_seconds()


def transfer_config(size: int, multipart_threshold: int) -> TransferConfig:
    """How to upload a file of `size` bytes: in parts from the threshold on, never more of them than S3 takes."""
    return TransferConfig(
        multipart_threshold=multipart_threshold,
        multipart_chunksize=max(_MIN_PART, -(-size // (_MAX_PARTS - 1))),
        max_concurrency=4,
        preferred_transfer_client="classic",
    )


def _client(
    settings: S3Settings, endpoint_url: str | None, keys: KeysOfFiles | None, *, signing: bool = False
) -> S3Client:
    access, secret = settings.access_key, settings.secret_key
    if signing and settings.signing_access_key is not None:
        access, secret = settings.signing_access_key, settings.signing_secret_key
    # A session of its own: boto3's default one is not thread-safe. Where keys are given, no profile is looked for.
    own = BotocoreSession(session_vars=None if access is None else {"profile": (None, None, None, None)})
    own.get_component("data_loader").file_loader = _DESCRIPTIONS
    if keys is not None:
        access = secret = None
        own._credentials = keys  # type: ignore[attr-defined]  # the public way takes only what stays
    local = endpoint_url is not None and is_loopback(urlsplit(endpoint_url).hostname or "")
    client = Session(
        botocore_session=own,
        aws_access_key_id=access,
        aws_secret_access_key=None if secret is None else secret.get_secret_value(),
        region_name=settings.region,
    ).client(
        "s3",
        endpoint_url=endpoint_url,
        config=Config(
            signature_version="s3v4",
            # "auto" would sign AWS URLs for the global host, which redirects to the region and breaks the signature.
            s3={"addressing_style": "virtual" if endpoint_url is None else "path"},
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
            # boto3's newer checksum trailers are refused by older servers and ignored by others; `verify` needs none.
            request_checksum_calculation="when_required" if settings.checksums == "required" else "when_supported",
            response_checksum_validation="when_required" if settings.checksums == "required" else "when_supported",
            tcp_keepalive=True,
            proxies={} if local else None,  # None: those of the environment
        ),
    )
    if settings.checksums == "required":
        client.meta.events.register("before-call.s3.DeleteObjects", _with_md5)
    s3_timing.measure(client)
    return client


@contextmanager
def _our_errors(subject: str) -> Iterator[None]:
    """Turn boto3's errors about `subject` (a key, a prefix or the bucket) into those of the port."""
    try:
        yield
    except ClientError as error:
        raise _ours(error, subject) from error
    except S3UploadFailedError as error:
        cause = error.__context__
        raise _ours(cause if isinstance(cause, ClientError) else error, subject) from error
    except BotoCoreError as error:
        raise ObjectsUnavailable(f"S3 does not answer about {subject}: {error}") from error


def _ours(error: Exception, subject: str) -> Exception:
    code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""
    if code in _NOT_FOUND:
        return NotFound(f"no object {subject}")
    if code == "InvalidRange":
        return InvalidField(f"the range asked for is not within {subject}", param="range")
    if isinstance(error, ClientError) and 400 <= _status(error) < 500 and code not in _BUSY:
        return ObjectsRefused(f"S3 refused {subject}: {error}", keys=[subject])
    return ObjectsUnavailable(f"S3 failed with {subject}: {error}")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _with_md5(model: OperationModel, params: dict[str, Any], **_: object) -> None:
    """Say the body's MD5, too: S3 demands one checksum of a DeleteObjects, and older servers know no other."""
    body = params.get("body") or b""
    digest = hashlib.md5(body.encode() if isinstance(body, str) else body, usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
