"""A campaign's rows as they stand, page by page, and the lines of its input that are none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import Response

from api import deps
from api.native.campaign_row_answers import ROWS_EXAMPLE, RowError, RowList, RowObject, RowResult, RowState
from api.openai.errors import DOCS
from api.wire.holding import held
from api.wire.line_files import streamed_lines
from api.wire.paging import Limit
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.campaigns import finishing
from orchestrator.domain import jsontext
from orchestrator.domain.campaign import Campaign, Outcome
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job import public_id_of
from orchestrator.domain.rights import Scope
from orchestrator.domain.template import name_of
from orchestrator.ports.campaign_values import EndedRow, RowFilter, RowPage, ShownRow
from orchestrator.store.campaign_rows import state_of

router = Router(tags=["campaigns"])

# For so long a request goes on where a filter leaves nothing; then whoever asks comes again, from there.
_LOOKS_S = 2.0
_LAST_PLACE = 2**31 - 1
# Of a picture that is within its row.
_LONGEST_URL = 2_000
_BAD_COLUMNS = ("line", "custom_id", "field", "code", "reason")
_BAD_EXAMPLE = '{"line": 17, "custom_id": "mug-16", "field": "scene", "code": "missing", "reason": "has no value"}\n'


@router.get(
    "/v1/campaigns/{campaign_id}/rows",
    response_model=RowList,
    summary="List a campaign's rows",
    **DOCS.route(Scope.READ, errors=(400, 404), example=ROWS_EXAMPLE),
)
async def list_rows(
    request: Request,
    campaign_id: str,
    tenant: deps.Tenant,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    state: Annotated[RowState | None, Query(description="Only rows that stand so.")] = None,
    reason: Annotated[str | None, Query(description="Only rows whose error has this code.")] = None,
    custom_id: Annotated[str | None, Query(description="The row of this name alone.")] = None,
    var: Annotated[
        list[str] | None, Query(description="`name:value`: only rows with this variable; may be repeated.")
    ] = None,
) -> Response:
    """A page of rows, in the order of the input. A page with a filter may hold fewer, and none, and have more."""
    wanted = RowFilter(state=state, reason=reason, custom_id=custom_id, variables=_variables(var or ()))
    campaign, page = await _page(request, tenant, campaign_id, wanted, after=place_after(after), limit=limit)
    return reply(
        RowList(
            data=[row_of(campaign, row) for row in page.rows],
            first_id=str(page.rows[0].row.place) if page.rows else None,
            last_id=str(page.after) if page.rows or page.has_more else None,
            has_more=page.has_more,
        )
    )


@router.get(
    "/v1/campaigns/{campaign_id}/errors",
    response_class=Response,
    summary="Download the lines that are no rows",
    **DOCS.route(
        Scope.READ,
        errors=(400, 404),
        sends=("content-disposition",),
        answers={
            200: {
                "description": "A line of each record of the input that cannot be rendered, and why; the first 20,000.",
                "content": {
                    "application/jsonl": {"schema": {"type": "string"}, "example": _BAD_EXAMPLE},
                    "text/csv": {"schema": {"type": "string"}},
                },
            }
        },
    ),
)
async def errors(
    request: Request,
    campaign_id: str,
    tenant: deps.Tenant,
    format: Annotated[Literal["jsonl", "csv"], Query(description="How it is written.")] = "jsonl",
) -> Response:
    """Everything that is wrong with the input, in its order: the line, the field to blame, a stable code, a reason."""
    services = deps.services(request)
    held(request).take(services.rooms.downloads)
    campaigns = services.campaigns
    pages = campaigns.bad_rows(await campaigns.get(tenant, campaign_id))
    lines = ([asdict(row) for row in page] async for page in pages)
    return await streamed_lines(lines, _BAD_COLUMNS, format, filename=f"{campaign_id}-errors.{format}")


# ---------------------------------------------------------------- finding


async def _page(
    request: Request, tenant: str, campaign_id: str, wanted: RowFilter, *, after: int, limit: int
) -> tuple[Campaign, RowPage]:
    """The next rows that a filter leaves: as many looks as it takes, within a time."""
    campaigns = deps.services(request).campaigns
    until = time.monotonic() + _LOOKS_S
    while True:
        campaign, page = await campaigns.rows(tenant, campaign_id, wanted, after=after, limit=limit)
        if page.rows or not page.has_more or time.monotonic() > until:
            return campaign, page
        after = page.after


def place_after(after: str | None) -> int:
    if after is None:
        return -1
    if not (after.isascii() and after.isdecimal() and len(after) <= 10 and int(after) <= _LAST_PLACE):
        raise InvalidField("is not the last_id of a page", param="after")
    return int(after)


def _variables(given: Sequence[str]) -> Mapping[str, str]:
    found = {}
    for pair in given:
        name, colon, value = pair.partition(":")
        if not colon or not name_of(name):
            raise InvalidField("must be name:value", param="var")
        found[name_of(name)] = value
    return found


# ---------------------------------------------------------------- showing


def row_of(campaign: Campaign, shown: ShownRow) -> RowObject:
    """A row as its owner reads it: what came of it, and where its live job stands."""
    state, job, result = state_of(campaign, shown), shown.job, dict(shown.result)
    if job is not None:
        result |= {"version": shown.version, "seed": job.spec.seed, "job": job.id.hex}
    told = finishing.row_of(campaign, EndedRow(row=shown.row, outcome=shown.outcome, result=result), final=False)
    body = jsontext.own(shown.row.body)
    tried = 0 if job is None or job.state.terminal else job.attempts
    return RowObject(
        custom_id=shown.row.custom_id,
        line=shown.row.line,
        place=shown.row.place,
        state=state,
        video_id=None if "job" not in result else public_id_of(result["job"]),
        variables=body["vars"],
        parameters=_parameters(campaign, body, told.negative_prompt, told.template_version),
        prompt=told.prompt,
        seed=told.seed or 0,
        template_version=told.template_version,
        attempts=told.attempts + tried,
        gpu_seconds=round(told.gpu_seconds, 3),
        error=_error(shown, state),
        flags=result.get("flags", ()),
        result=_result(result),
    )


def _parameters(
    campaign: Campaign, body: Mapping[str, Any], negative_prompt: str | None, version: int | None
) -> dict[str, Any]:
    template = next((each for each in campaign.templates if each.version == version), campaign.template)
    found = {**template.defaults, **body["params"]}
    if negative_prompt is not None:
        found["negative_prompt"] = negative_prompt
    if (image := body.get("image")) is not None:
        found["input_reference"] = {name: _short(value) for name, value in image.items()}
    return {name: value for name, value in found.items() if name not in ("prompt", "seed")}


def _short(value: str) -> str:
    """A picture that is within its row would fill a page of rows: its beginning says which one it is."""
    return value if len(value) <= _LONGEST_URL else f"{value[:80]}... ({len(value)} characters)"


def _error(shown: ShownRow, state: str) -> RowError | None:
    error = shown.result.get("error")
    if error is None or state != shown.outcome or shown.outcome is Outcome.SUCCEEDED:
        return None
    return RowError(code=error["code"], message=error["message"])


def _result(result: Mapping[str, Any]) -> RowResult | None:
    if "key" not in result:
        return None
    names = ("model", "revision", "profile", "numerics", "continuity")
    return RowResult(
        key=result["key"],
        size=result["size"],
        sha256=result["sha256"],
        **{name: result.get(name) for name in names},
    )
