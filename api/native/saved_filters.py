"""`/v1/job-filters`, which is ours: filters of jobs that a tenant's people keep by name."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.native.job_queries import FilterFields, FilterShown, shown
from api.openai.errors import DOCS
from api.wire.bodies import read_json, typed
from api.wire.docs import Body
from api.wire.paging import Identified
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.ports.notes import Saved

router = Router(tags=["jobs"])

FILTER: dict[str, JsonValue] = {**FilterShown().model_dump(mode="json"), "state": ["failed"], "pool": "main"}
EXAMPLE: dict[str, JsonValue] = {
    "id": "failed at night",
    "object": "job_filter",
    "filter": FILTER,
    "author": "key:cgm_Zk41mP0aQe8RtUv3",
    "saved_by": "acme/console (key cgm_Zk41mP0aQe8RtUv3)",
    "saved_at": 1758941485,
}
Name = Annotated[str, Path(description="Its name, which is its id.")]


class SavedFilter(Identified):
    """A filter by its name."""

    object: Literal["job_filter"] = "job_filter"
    filter: FilterShown
    author: str = Field(description="The key or the person.")
    saved_by: str = Field(description="The same in words for people.")
    saved_at: int


class SavedFilters(BaseModel):
    """All of a tenant's, by name."""

    object: Literal["list"] = "list"
    data: list[SavedFilter]


class SaveFilter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filter: FilterFields


class DeletedFilter(BaseModel):
    """The filter is gone."""

    id: str
    object: Literal["job_filter.deleted"] = "job_filter.deleted"
    deleted: Literal[True] = True


@router.get(
    "/v1/job-filters",
    response_model=SavedFilters,
    summary="List saved filters",
    **DOCS.route(Scope.READ, example={"object": "list", "data": [EXAMPLE]}),
)
async def list_filters(request: Request, tenant: deps.Tenant) -> Response:
    """Every filter that the tenant's people keep."""
    kept = await deps.services(request).notes.filters(tenant)
    return reply(SavedFilters(data=[_shown(each) for each in kept]))


@router.put(
    "/v1/job-filters/{filter_name}",
    response_model=SavedFilter,
    summary="Save a filter",
    **DOCS.route(
        Scope.SUBMIT,
        reads=Body(fields=SaveFilter, examples={"typical": {"filter": {"state": ["failed"], "pool": "main"}}}),
        errors=(404,),
        example=EXAMPLE,
    ),
)
async def save_filter(request: Request, filter_name: Name, key: deps.Key) -> Response:
    """Keep a filter under a name, in the place of what was kept under it."""
    fields = typed(SaveFilter, await read_json(request), nested=True)
    saved = await deps.services(request).notes.save_filter(
        key.tenant, filter_name, fields.filter.wanted(), author=deps.id_of(key), saved_by=deps.name_of(key)
    )
    return reply(_shown(saved))


@router.delete(
    "/v1/job-filters/{filter_name}",
    response_model=DeletedFilter,
    summary="Delete a saved filter",
    **DOCS.route(
        Scope.SUBMIT, errors=(404,), example={"id": EXAMPLE["id"], "object": "job_filter.deleted", "deleted": True}
    ),
)
async def delete_filter(request: Request, filter_name: Name, tenant: deps.Tenant) -> Response:
    """Keep it no more."""
    await deps.services(request).notes.drop_filter(tenant, filter_name)
    return reply(DeletedFilter(id=filter_name))


def _shown(saved: Saved) -> SavedFilter:
    return SavedFilter(
        id=saved.name,
        filter=shown(saved.wanted),
        author=saved.author,
        saved_by=saved.saved_by,
        saved_at=unix(saved.saved_at),
    )
