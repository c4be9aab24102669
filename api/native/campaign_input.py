"""How a campaign gets its rows: sent in one stream, put to a signed URL, or read from where they are."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api import deps
from api.native.campaign_answers import CAMPAIGN_EXAMPLE, UPLOAD_EXAMPLE, CampaignObject, CampaignUpload
from api.native.campaign_schemas import IngestCampaign
from api.native.campaigns import TAGGED, shown
from api.openai.errors import DOCS
from api.wire.bodies import content_type, read_optional, typed
from api.wire.docs import Body, Raw
from api.wire.replies import reply, unix
from api.wire.routes import Router
from api.wire.uploads import streamed
from orchestrator.campaigns.commands import check_draft
from orchestrator.campaigns.reading.formats import Format
from orchestrator.domain.errors import InvalidField, RequestError, Unsupported
from orchestrator.domain.rights import Scope
from orchestrator.intake.files import CAMPAIGN

router = Router(tags=["campaigns"])

INGESTING = CAMPAIGN_EXAMPLE | {"state": "ingesting", "plan_token": None, "approved_token": None}

_FORMATS = {
    "text/csv": Format.CSV,
    "application/csv": Format.CSV,
    "application/jsonl": Format.JSONL,
    "application/x-jsonlines": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
}
_SENT = Raw(
    media={
        "text/csv": "custom_id,product,scene\nmug-1,red mug,table\n",
        "application/jsonl": '{"custom_id": "mug-1", "product": "red mug", "scene": "table"}\n',
        "application/vnd.apache.parquet": "PAR1 (the bytes of a Parquet file)",
        "application/octet-stream": "custom_id,product,scene\nmug-1,red mug,table\n",
    }
)


@router.put(
    "/v1/campaigns/{campaign_id}/input",
    response_model=CampaignObject,
    summary="Send a campaign's rows",
    dependencies=[deps.UPLOAD_TURN],
    **DOCS.route(Scope.CAMPAIGNS, reads=_SENT, sends=TAGGED, example=INGESTING, errors=(404,)),
)
async def send(
    request: Request,
    campaign_id: str,
    tenant: deps.Tenant,
    format: Annotated[
        Format | None,
        Query(
            description="Of the rows; what the `Content-Type` says, else told by how they begin. Gzip is told so too."
        ),
    ] = None,
) -> Response:
    """Send the rows of a draft in one stream. One that breaks off leaves the draft as it was; then send it again."""
    services = deps.services(request)
    form = format or _format_of(content_type(request))
    campaign = await services.campaigns.get(tenant, campaign_id)
    check_draft(campaign)  # before gigabytes are sent for nothing
    async with streamed(request) as path:
        if not (await asyncio.to_thread(path.stat)).st_size:
            raise InvalidField("is empty", param="input")
        file = await services.files.add(
            tenant,
            path,
            filename=f"{campaign_id}.{form or 'rows'}",
            purpose=CAMPAIGN,
            content_type="application/octet-stream",
            lifetime_s=None,
        )
    try:
        campaign = await services.campaigns.ingest(tenant, campaign_id, file.id, form)
    except RequestError:  # somebody else's rows were quicker, or it was deleted
        await services.files.delete(tenant, file.id)
        raise
    return await shown(request, campaign)


@router.post(
    "/v1/campaigns/{campaign_id}/upload",
    response_model=CampaignUpload,
    summary="Get a URL for a campaign's rows",
    **DOCS.route(Scope.CAMPAIGNS, errors=(400, 404), example=UPLOAD_EXAMPLE),
)
async def offer(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """A URL that the rows of a draft may be put to, past the API; then call `ingest`."""
    upload = await deps.services(request).campaigns.upload(tenant, campaign_id)
    return reply(CampaignUpload(url=upload.url, expires_at=unix(upload.expires_at)))


@router.post(
    "/v1/campaigns/{campaign_id}/ingest",
    response_model=CampaignObject,
    summary="Take in a campaign's rows",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(
            fields=IngestCampaign,
            examples={
                "what was uploaded": {},
                "a file": {"input": "file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a"},
                "an object": {"input": "s3://cogmill/imports/acme/mugs.parquet", "format": "parquet"},
            },
            required=False,
        ),
        sends=TAGGED,
        example=INGESTING,
        errors=(404,),
    ),
)
async def ingest(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Take in the rows of what was uploaded, of a file, or of an object in this deployment's bucket."""
    fields = typed(IngestCampaign, await read_optional(request))
    campaigns = deps.services(request).campaigns
    return await shown(request, await campaigns.ingest(tenant, campaign_id, fields.input, fields.format))


def _format_of(media_type: str) -> Format | None:
    """What a `Content-Type` says. Types that say nothing, those of clients that were not told one too, are None."""
    if media_type == "multipart/form-data":
        raise Unsupported(
            "must be that of the rows, which are sent as they are and not in a form", param="Content-Type"
        )
    return _FORMATS.get(media_type)
