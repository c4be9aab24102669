"""`/v1/notes`, which is ours: what a tenant's people write down about its jobs and campaigns."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import read_json, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Identified, Limit, Listing
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.intake.notes import MAX_BODY_CHARS
from orchestrator.ports.notes import Note

router = Router(tags=["jobs"])

EXAMPLE: dict[str, JsonValue] = {
    "id": "note_019a2f6c5d3e7b1c8f4a9e2d6b0c1a53",
    "object": "note",
    "about": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "body": "The lamp flickers at 0:03; asked for another seed.",
    "author": "key:cgm_Zk41mP0aQe8RtUv3",
    "written_by": "acme/console (key cgm_Zk41mP0aQe8RtUv3)",
    "created_at": 1758941485,
}


class NoteObject(Identified):
    """What somebody wrote."""

    object: Literal["note"] = "note"
    about: str
    body: str
    author: str = Field(description="The key or the person.")
    written_by: str = Field(description="The same in words for people.")
    created_at: int


class NoteList(Listing[NoteObject]):
    """A page of notes, newest first."""


class CreateNote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    about: str = Field(max_length=200, description="The id of a video or a campaign.")
    body: str = Field(min_length=1, max_length=MAX_BODY_CHARS)


class DeletedNote(BaseModel):
    """The note is gone."""

    id: str
    object: Literal["note.deleted"] = "note.deleted"
    deleted: Literal[True] = True


@router.post(
    "/v1/notes",
    response_model=NoteObject,
    summary="Write a note",
    **DOCS.route(
        Scope.SUBMIT,
        reads=Body(fields=CreateNote, examples={"typical": {name: EXAMPLE[name] for name in ("about", "body")}}),
        example=EXAMPLE,
        errors=(404,),
    ),
)
async def create_note(request: Request, key: deps.Key) -> Response:
    """Write something about a video or a campaign, for everybody of the tenant. It goes with what it is about."""
    fields = typed(CreateNote, await read_json(request))
    note = await deps.services(request).notes.add(
        key.tenant, fields.about, fields.body, author=deps.id_of(key), written_by=deps.name_of(key)
    )
    return reply(_shown(note))


@router.get(
    "/v1/notes",
    response_model=NoteList,
    summary="List notes",
    **DOCS.route(Scope.READ, errors=(400,), example=listed(EXAMPLE)),
)
async def list_notes(
    request: Request,
    tenant: deps.Tenant,
    about: Annotated[str, Query(max_length=200, description="The id of a video or a campaign.")],
    limit: Limit = 20,
    after: After = None,
) -> Response:
    """A page of what was written about a video or a campaign, newest first."""
    page = await deps.services(request).notes.list(tenant, about, limit=limit, after=after)
    return reply(NoteList.of([_shown(note) for note in page.notes], has_more=page.has_more))


@router.delete(
    "/v1/notes/{note_id}",
    response_model=DeletedNote,
    summary="Delete a note",
    **DOCS.route(Scope.SUBMIT, errors=(404,), example={"id": EXAMPLE["id"], "object": "note.deleted", "deleted": True}),
)
async def delete_note(request: Request, note_id: str, tenant: deps.Tenant) -> Response:
    """Take a note away, whoever of the tenant wrote it."""
    await deps.services(request).notes.delete(tenant, note_id)
    return reply(DeletedNote(id=note_id))


def _shown(note: Note) -> NoteObject:
    return NoteObject(
        id=note.id,
        about=note.about,
        body=note.body,
        author=note.author,
        written_by=note.written_by,
        created_at=unix(note.created_at),
    )
