"""A third dialect, as small as one can be; of its folder's files each is a chapter here. It says `film` for a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api import deps
from api.shared.batches import batch_routes
from api.shared.dialect import Dialect, one_file, one_video
from api.shared.files import file_routes
from api.shared.lines import refusal_of, status_of
from api.wire.bodies import read_json, typed
from api.wire.docs import Body, Docs
from api.wire.problem import Problem
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.config import Settings
from orchestrator.domain.batch import Batch, Item, ItemError
from orchestrator.domain.job import Job, public_id
from orchestrator.domain.request import VideoRequest
from orchestrator.domain.rights import Scope
from orchestrator.ports.batches import Sign

# ------------------------------------------------------------ schemas.py


class Film(BaseModel):
    id: str
    stands: str


class MakeFilm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    scene: str = Field(description="What the film shows.")
    seed: int | None = None


class Oops(BaseModel):
    oops: str
    why: str
    where: str | None


# ------------------------------------------------------------ translate.py


def request_of(fields: MakeFilm) -> VideoRequest:
    return VideoRequest(prompt=fields.scene, seed=fields.seed, origin={"dialect": "films"})


def film_of(job: Job) -> Film:
    return Film(id=public_id(job.id), stands=job.state)


# ------------------------------------------------------------ errors.py


def body(problem: Problem) -> Oops:
    where = "scene" if problem.param == "prompt" else problem.param
    return Oops(oops=problem.code, why=problem.message, where=where)


DOCS = Docs(Oops, body)

# ------------------------------------------------------------ films.py

router = Router(tags=["films"])


@router.post(
    "/films/v1/films",
    response_model=Film,
    dependencies=[deps.LARGE_BODY_TURN],
    **DOCS.route(Scope.SUBMIT, reads=Body(fields=MakeFilm), example={"id": "video_0", "stands": "queued"}),
)
async def make(request: Request, tenant: deps.Tenant) -> Response:
    """Queue a film."""
    job = await deps.services(request).jobs.submit(tenant, request_of(typed(MakeFilm, await read_json(request))))
    return reply(film_of(job))


@router.get("/films/v1/films/{film_id}", response_model=Film, **DOCS.route(Scope.READ, errors=(404,)))
async def look(request: Request, film_id: str, tenant: deps.Tenant) -> Response:
    """The film as it stands."""
    return reply(film_of(await deps.services(request).jobs.get(tenant, film_id)))


# ------------------------------------------------------------ files.py, batches.py

ENDPOINT = "/films/v1/films"
files = file_routes("/films/v1", DOCS)
batches = batch_routes("/films/v1", DOCS, dialect="films", endpoint=ENDPOINT, delete_input=True)

# ------------------------------------------------------------ lines.py


class FilmLines:
    """`{"custom_id", "status", "film"}`, with `oops` in place of a film that there is not."""

    def __init__(self, settings: Settings) -> None:
        self._model = settings.default_model

    def request(self, body: Mapping[str, Any], job_id: UUID) -> VideoRequest:
        return request_of(typed(MakeFilm, body))

    def answer(self, batch: Batch, item: Item, job: Job, sign: Sign) -> Mapping[str, Any]:
        film = film_of(job).model_dump() | {"model": self._model}
        return {"custom_id": item.custom_id, "status": status_of(job), "film": film}

    def refusal(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        problem = refusal_of(error)
        return {"custom_id": item.custom_id, "status": problem.status, "oops": body(problem).model_dump()}

    def undone(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        return {"custom_id": item.custom_id, "status": None, "oops": error.code}


# ------------------------------------------------------------ dialect.py

DIALECT = Dialect(
    name="films",
    prefix="/films/",
    docs=DOCS,
    routers=(router, files, batches),
    bodies={"/films/v1/files": one_file, "/films/v1/films": one_video},
    base_url="/films/v1",
    lines=FilmLines,
)
