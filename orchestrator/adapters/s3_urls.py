"""The bucket for whoever has no keys of it: the signed URLs of the claims that it holds, and nothing else."""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from orchestrator.adapters import read_back
from orchestrator.config import S3Settings
from orchestrator.domain.addresses import is_loopback
from orchestrator.domain.errors import IntegrityError, NotFound, ObjectsRefused, ObjectsUnavailable
from orchestrator.domain.job import Artifact
from orchestrator.domain.retry import BELOW, Backoff

_CHUNK = 64 * 1024
_BACKOFF = Backoff(base_s=0.2, cap_s=5.0, spread=BELOW)
# Refusals of the moment: trying again helps.
_BUSY = frozenset({408, 425, 429})


class Wallet:
    """The URLs of the claims that a worker holds, by their tokens. Thread-safe."""

    def __init__(self) -> None:
        self._held: dict[UUID, tuple[Mapping[str, str], Mapping[str, str]]] = {}

    def take(self, token: UUID, reads: Mapping[str, str] | None, writes: Mapping[str, str] | None) -> None:
        """Keep a claim's URLs in the place of those that it had; none leave them as they were."""
        if reads is not None or writes is not None:
            # Last, so that the newest URL of an input that several claims read is found first.
            held = {each: urls for each, urls in self._held.items() if each != token}
            self._held = held | {token: (reads or {}, writes or {})}

    def drop(self, token: UUID) -> None:
        """A claim is over."""
        self._held = {each: urls for each, urls in self._held.items() if each != token}

    def read(self, key: str) -> str:
        """The URL that GETs a key. Raises `ObjectsRefused` where no claim that is held may."""
        return self._find(key, 0)

    def write(self, key: str) -> str:
        """The URL that PUTs a key. Raises as `read` does."""
        return self._find(key, 1)

    def _find(self, key: str, which: int) -> str:
        for urls in reversed(self._held.values()):
            if key in urls[which]:
                return urls[which][key]
        raise ObjectsRefused(f"no claim that is held here has a URL for {key}", keys=[key])


class UrlObjects:
    """Implements `ports.ClaimObjects` on the URLs of a wallet; it asks it at each request, since URLs are renewed.

    Of the settings only addresses and patience count. An object is written in one PUT, which S3 takes up to 5 GB of.
    """

    def __init__(self, settings: S3Settings, wallet: Wallet) -> None:
        self._wallet = wallet
        self._tries = settings.max_attempts
        local = settings.endpoint_url is not None and is_loopback(urlsplit(settings.endpoint_url).hostname or "")
        wait_s, connect_s = settings.read_timeout_s, settings.connect_timeout_s
        self._http = httpx.Client(
            verify=_authorities(),
            timeout=httpx.Timeout(wait_s, connect=connect_s),
            trust_env=not local,
            headers={"accept-encoding": "identity", "user-agent": "cogmill"},
        )

    def put(self, key: str, data: bytes, content_type: str) -> Artifact:
        artifact = read_back.of_bytes(key, data, content_type)
        self._put(artifact, lambda: data)
        read_back.compare(artifact, self.stream(key))
        return artifact

    def upload(
        self, key: str, path: Path, content_type: str, *, on_progress: Callable[[], None] | None = None
    ) -> Artifact:
        artifact = read_back.of_file(key, path, content_type)
        self._put(artifact, lambda: _chunks(path, on_progress))
        read_back.compare(artifact, self.stream(key), on_progress)
        return artifact

    def get(self, key: str) -> bytes:
        return b"".join(self.stream(key))

    def stream(self, key: str) -> Iterator[bytes]:
        """An object's bytes in chunks; a body that breaks off is taken up again where it broke."""
        position = 0
        for tried in range(self._tries):
            self._pause(tried)
            try:
                with self._answer(key, tried, "GET", self._wallet.read(key), headers=_from(position)) as answer:
                    if position and answer.status_code != httpx.codes.PARTIAL_CONTENT:
                        raise IntegrityError(f"{key} cannot be gone on with at byte {position}")
                    for chunk in answer.iter_raw(_CHUNK):
                        position += len(chunk)
                        yield chunk
                return
            except _Passing:
                continue

    def _put(self, artifact: Artifact, body: Callable[[], bytes | Iterator[bytes]]) -> None:
        key = artifact.key
        headers = {"content-type": artifact.content_type, "content-length": str(artifact.size)}
        for tried in range(self._tries):
            self._pause(tried)
            try:
                with self._answer(key, tried, "PUT", self._wallet.write(key), headers=headers, content=body()):
                    return
            except _Passing:
                continue

    @contextmanager
    def _answer(
        self,
        key: str,
        tried: int,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | Iterator[bytes] | None = None,
    ) -> Iterator[httpx.Response]:
        """A good answer. Raises `_Passing` for what may pass, until the tries are used up, and one of our errors else.

        No error says a URL: it is as good as a key while it opens.
        """
        try:
            with self._http.stream(method, url, headers=headers, content=content) as answer:
                if answer.is_success:
                    yield answer
                    return
                error = _refusal(key, answer)
        except httpx.TransportError as broken:
            error = ObjectsUnavailable(f"S3 does not answer about {key}: {type(broken).__name__}")
        if tried + 1 < self._tries and not isinstance(error, ObjectsRefused | NotFound):
            raise _Passing from error
        raise error

    def _pause(self, tried: int) -> None:
        if tried:
            time.sleep(_BACKOFF.delay_s(tried, random.random()))


class _Passing(Exception):
    """Worth another try."""


def _refusal(key: str, answer: httpx.Response) -> NotFound | ObjectsUnavailable:
    status = answer.status_code
    if status == httpx.codes.NOT_FOUND:
        return NotFound(f"no object {key}")
    if status >= 500 or status in _BUSY:
        return ObjectsUnavailable(f"S3 failed with {key}: status {status}")
    return ObjectsRefused(f"S3 refused {key}: status {status}; or the URL's time is over", keys=[key])


def _from(position: int) -> dict[str, str]:
    return {"range": f"bytes={position}-"} if position else {}


def _chunks(path: Path, on_progress: Callable[[], None] | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
            if on_progress is not None:
                on_progress()


def _authorities() -> ssl.SSLContext:
    """Those of botocore's own variable, where it is set, as for whoever has keys; else those of OpenSSL's."""
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if not bundle:
        return httpx.create_ssl_context()
    whole = Path(bundle).is_dir()
    return ssl.create_default_context(cafile=None if whole else bundle, capath=bundle if whole else None)
