"""What came of a campaign's rows, to download: the signed manifest, the same as CSV, URLs of the videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from fastapi import Query, Request
from fastapi.responses import Response

from api import deps
from api.native.campaign_row_answers import SIGNATURE_EXAMPLE, ManifestSignatureObject
from api.openai.errors import DOCS
from api.wire.holding import held
from api.wire.replies import reply
from api.wire.routes import Router
from api.wire.streaming import Streamed
from orchestrator.campaigns.manifest import CONTENT_TYPE, lines_of
from orchestrator.domain import jsontext
from orchestrator.domain.campaign import ManifestMark
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Artifact
from orchestrator.domain.manifest import ManifestRow, ManifestSignature, links_of, row_of
from orchestrator.domain.objects import signature_key
from orchestrator.domain.rights import Scope
from orchestrator.domain.spreadsheet import csv_of
from orchestrator.ports import ObjectStore

router = Router(tags=["campaigns"])

# Characters that are sent at a time: so few that each piece is made well within a download's patience.
_PIECE = 32 * 1024
_GONE = "this revision of the manifest is gone; ask for the newest again"
_LINK = (
    '{"custom_id":"mug-7","expires_at":1758945085,"sha256":"9f86d081","size":1204224,'
    '"url":"https://s3.example.org/cogmill/videos/0199c3a5/1/video.mp4?X-Amz-Signature=4d1f"}\n'
)


@router.get(
    "/v1/campaigns/{campaign_id}/manifest",
    response_class=Response,
    summary="Download a campaign's manifest",
    **DOCS.route(
        Scope.READ,
        errors=(400, 404),
        sends=("content-disposition", "cache-control", "etag"),
        answers={
            200: {
                "description": "A header and a line for each row. `links` has a line for each row that has a video.",
                "content": {
                    "application/jsonl": {"schema": {"type": "string"}, "example": _LINK},
                    "text/csv": {"schema": {"type": "string"}},
                },
            }
        },
    ),
)
async def manifest(
    request: Request,
    campaign_id: str,
    tenant: deps.Tenant,
    format: Annotated[
        Literal["jsonl", "csv", "links"],
        Query(description="`jsonl` is what is signed. `links` are URLs that open without a key, for a while."),
    ] = "jsonl",
) -> Response:
    """What came of each row, by the newest revision of the manifest. Its `ETag` is the SHA-256 of the JSON Lines."""
    services = deps.services(request)
    mark = await _newest(request, tenant, campaign_id)
    lifetime_s = services.settings.s3.url_lifetime_s
    make = {
        "jsonl": partial(_as_it_is, mark.key),
        "csv": partial(_csv, mark),
        "links": partial(_links, mark, lifetime_s),
    }[format]
    held(request).take(services.rooms.downloads)
    # Opened before the status goes out, so that a missing object or a silent S3 is an error and not a torn 200.
    pieces = await services.downloads.made(make, gone=_GONE)
    if format == "links":
        # URLs are signed for the piece that has them: who reads slowly gets none any more once the key is revoked.
        pieces = services.keyring.while_good(deps.key_of(request), pieces)
    name = f"{campaign_id}-{mark.revision}{'-links' if format == 'links' else ''}"
    ending, kind = ("csv", "text/csv; charset=utf-8") if format == "csv" else ("jsonl", CONTENT_TYPE)
    headers = {"content-disposition": f'attachment; filename="{name}.{ending}"', "cache-control": "no-store"}
    if format == "jsonl":
        headers["etag"] = f'"{mark.sha256}"'
    return Streamed(pieces, 200, headers, kind)


@router.get(
    "/v1/campaigns/{campaign_id}/manifest/signature",
    response_model=ManifestSignatureObject,
    summary="Retrieve a manifest's signature",
    **DOCS.route(Scope.READ, errors=(404, 502), example=SIGNATURE_EXAMPLE),
)
async def signature(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Who vouches for the newest revision of the manifest: a detached signature of its JSON Lines."""
    mark = await _newest(request, tenant, campaign_id)
    data = await deps.services(request).downloads.small(signature_key(mark.key), gone=_GONE)
    signed = ManifestSignature.from_dict(jsontext.own(data.decode()))
    return reply(ManifestSignatureObject.model_validate(signed.to_dict()))


async def _newest(request: Request, tenant: str, campaign_id: str) -> ManifestMark:
    campaign = await deps.services(request).campaigns.get(tenant, campaign_id)
    if campaign.manifest is None:
        raise NotFound(
            f"there is no manifest of {campaign_id} yet: the first one is written when the campaign pauses, awaits "
            "approval, gets on by a step of its progress, or ends"
        )
    return campaign.manifest


def _as_it_is(key: str, objects: ObjectStore) -> Iterator[bytes]:
    return objects.stream(key)


def _csv(mark: ManifestMark, objects: ObjectStore) -> Iterator[bytes]:
    return _gathered(csv_of(_lines(mark, objects)))


def _links(mark: ManifestMark, lifetime_s: int, objects: ObjectStore) -> Iterator[bytes]:
    def presign(row: ManifestRow) -> tuple[str, int]:
        assert row.key is not None, "only rows with a video have a link"
        url = objects.presign(row.key, lifetime_s=lifetime_s, filename=f"{row.custom_id}.mp4")
        return url, _ends(url, lifetime_s)

    told = (jsontext.own(line) for line in _lines(mark, objects))
    rows = (row_of(fields) for fields in told if "object" not in fields)
    return _gathered(f"{line}\n" for line in links_of(rows, presign))


def _lines(mark: ManifestMark, objects: ObjectStore) -> Iterator[str]:
    artifact = Artifact(key=mark.key, size=0, sha256=mark.sha256, content_type=CONTENT_TYPE)
    return lines_of(objects, artifact)


def _gathered(texts: Iterable[str]) -> Iterator[bytes]:
    """Pieces that are worth a call to a thread."""
    kept: list[str] = []
    size = 0
    for text in texts:
        kept.append(text)
        size += len(text)
        if size >= _PIECE:
            yield "".join(kept).encode()
            kept, size = [], 0
    if kept:
        yield "".join(kept).encode()


def _ends(url: str, lifetime_s: int) -> int:
    """When a signed URL opens no more: it says so itself, since credentials that end sooner end it, too."""
    said = parse_qs(urlsplit(url).query)
    try:
        signed = datetime.strptime(said["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return int(signed.timestamp()) + int(said["X-Amz-Expires"][0])
    except (KeyError, ValueError):
        return int(datetime.now(UTC).timestamp()) + lifetime_s
