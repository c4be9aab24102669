"""Errors on the wire: each in the dialect that its path belongs to, whatever raised it."""

from __future__ import annotations

import json
from dataclasses import replace

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.bigmodel import errors as bigmodel
from api.openai import errors as openai
from api.wire.problem import Problem, problem_of
from orchestrator.domain.errors import CogmillError, Unavailable
from orchestrator.telemetry import logs

log = logs.get("api")

_DIALECTS = (bigmodel.DOCS, openai.DOCS)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def install(app: FastAPI) -> None:
    """Answer every foreseen exception; the unforeseen ones are `middleware.Edge`'s."""
    for kind in (CogmillError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    path = request.url.path
    if isinstance(error, Unavailable):
        log.warning("unavailable", part=type(error).__name__, error=str(error), path=path)
    elif problem.status >= 500:
        log.error("request_failed", part=type(error).__name__, error=str(error), path=path)
    if problem.status == 405:
        problem = replace(problem, headers={"allow": _methods(request)})
    return response(path, problem)


def _methods(request: Request) -> str:
    """Every method of a path; the router itself knows only those of the first route that has the path."""
    return ", ".join(
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    )


def response(path: str, problem: Problem) -> Response:
    """The answer to a problem on `path`. Paths of no dialect get the OpenAI form."""
    dialect = next((each for each in _DIALECTS if path.startswith(each.prefix)), openai.DOCS)
    # Escaped to ASCII: a message may quote half a surrogate pair, which UTF-8 cannot encode.
    content = json.dumps(dialect.word(problem).model_dump(), ensure_ascii=True)
    return Response(content, problem.status, dict(problem.headers), "application/json")
