"""A campaign's rows: sent, listed, and what came of them: errors, manifest, links."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Literal, TypeVar

import httpx
from pydantic import TypeAdapter

from cogmill_client.bodies import FileBody, StreamBody, existing
from cogmill_client.downloads import fetch
from cogmill_client.effects import Close, Item, Items, Read, Request, Steps
from cogmill_client.errors import ApiError, ConfigurationError, ConnectionFailed
from cogmill_client.exchange import answer_of, reads, reads_as, sent
from cogmill_client.models.campaigns import Campaign, InputFormat
from cogmill_client.models.rows import BadRow, Link, ManifestSignature, Row, RowState, Upload
from cogmill_client.paging import listed
from cogmill_client.procedures.campaigns import retrieve
from cogmill_client.urls import at, query, without_none

T = TypeVar("T")

TYPES = {"csv": "text/csv", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
# The server reads the rows while they come, and answers behind the last one.
_INGEST_SILENCE_S = 600.0
# What the server answers to rows of a campaign that has some.
_NO_DRAFT = "wrong_state"


def upload_input(
    campaign_id: str,
    source: str | os.PathLike[str] | IO[bytes] | Iterable[bytes],
    *,
    format: Literal["csv", "jsonl", "parquet"] | None = None,
) -> Steps[Campaign]:
    """Send the rows in one stream, of any length: a path, an open file, or pieces of bytes. Gzip is told by itself.

    Without `format` the file's name says it, or how it begins. A path is sent again after a lost connection, and one
    that had arrived all the same is a success; a stream cannot be.
    """
    request = Request(
        method="PUT", url=at("/v1/campaigns/{}/input", campaign_id), body=_body(source, format),
        silence_s=_INGEST_SILENCE_S,
    )  # fmt: skip
    return _uploaded(campaign_id, request)


def presign_upload(campaign_id: str) -> Steps[Upload]:
    """A URL that takes the rows with one PUT, without a key; then call `ingest`."""
    return answer_of(Request(method="POST", url=at("/v1/campaigns/{}/upload", campaign_id)), reads(Upload))


def upload_to(upload: Upload, source: str | os.PathLike[str]) -> Steps[None]:
    """Send a file to such a URL, past the API."""
    body = FileBody(existing(source, "source"), "application/octet-stream")
    request = Request(method=upload.method, url=upload.url, body=body, anonymous=True)
    return answer_of(request, lambda response: None)


def ingest(campaign_id: str, *, input: str | None = None, format: InputFormat | None = None) -> Steps[Campaign]:
    """Read the rows of a file's id, an `s3://` URL, or of what was uploaded."""
    url, fields = at("/v1/campaigns/{}/ingest", campaign_id), without_none(input=input, format=format)
    return answer_of(Request(method="POST", url=url, json=fields), reads(Campaign))


def rows(
    campaign_id: str,
    *,
    state: RowState | None = None,
    reason: str | None = None,
    custom_id: str | None = None,
    variables: Mapping[str, str] | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Items[Row]:
    """The rows in their order, all or those that the filters leave."""
    var = [f"{name}:{value}" for name, value in (variables or {}).items()]
    asked = query(state=state, reason=reason, custom_id=custom_id, var=var)
    return listed(at("/v1/campaigns/{}/rows", campaign_id), Row, asked, limit=limit, after=after)


def errors(campaign_id: str) -> Items[BadRow]:
    """The records of the input that are no rows, and why."""
    return _lines(at("/v1/campaigns/{}/errors", campaign_id), BadRow, "jsonl")


def links(campaign_id: str) -> Items[Link]:
    """A signed URL of each row's video; they hold for a while."""
    return _lines(at("/v1/campaigns/{}/manifest", campaign_id), Link, "links")


def manifest(
    campaign_id: str,
    path: str | os.PathLike[str],
    *,
    format: Literal["jsonl", "csv"] = "jsonl",
    on_bytes: Callable[[int], object] | None = None,
) -> Steps[Path]:
    """Save what came of each row. `signature` signs the JSON Lines."""
    request = Request(method="GET", url=at("/v1/campaigns/{}/manifest", campaign_id), query=query(format=format))
    return fetch(request, Path(path), resume=False, seen=on_bytes)


def signature(campaign_id: str) -> Steps[ManifestSignature]:
    """Of the newest manifest; `jwks` has the key that it is checked with."""
    url = at("/v1/campaigns/{}/manifest/signature", campaign_id)
    return answer_of(Request(method="GET", url=url), reads(ManifestSignature))


def _uploaded(campaign_id: str, request: Request) -> Steps[Campaign]:
    assert request.body is not None, "it has rows"
    try:
        return (yield from answer_of(request, reads(Campaign)))
    except ApiError as refused:
        if refused.code != _NO_DRAFT or refused.tries == 1:
            raise
        # By an earlier try of ours, if what it has taken in since is as long as what we send.
        campaign = yield from retrieve(campaign_id)
        if campaign.input is None or str(campaign.input.bytes) != request.body.headers().get("content-length"):
            raise
        return campaign


def _lines(url: str, model: type[T], format: str) -> Items[T]:
    return Items(_each_line(Request(method="GET", url=url, query=query(format=format)), model))


def _each_line(request: Request, model: type[T]) -> Steps[None]:
    read = reads_as(TypeAdapter(model), model.__name__)
    response = yield from sent(request, open_=True)
    rest = b""
    try:
        while (piece := (yield Read(response))) is not None:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if line.strip():
                    yield Item(read(line))
    except httpx.HTTPError as error:
        raise ConnectionFailed(f"{request.url} broke off: {error}") from error
    if rest.strip():
        yield Item(read(rest))
    yield Close(response)


def _body(source: str | os.PathLike[str] | IO[bytes] | Iterable[bytes], format: str | None) -> FileBody | StreamBody:
    if isinstance(source, bytes | bytearray):
        raise ConfigurationError("source: give a path, an open file or an iterable of bytes")
    named = isinstance(source, str | os.PathLike)
    name = str(source if named else getattr(source, "name", "")).lower().removesuffix(".gz")
    known = format or next((word for ending, word in _FORMATS.items() if name.endswith(ending)), None)
    if known is not None and known not in TYPES:
        raise ConfigurationError(f"format: is csv, jsonl or parquet, not {known!r}")
    content_type = "application/octet-stream" if known is None else TYPES[known]
    if isinstance(source, str | os.PathLike):
        return FileBody(existing(source, "source"), content_type)
    return StreamBody(source, content_type)
