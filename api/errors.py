"""Errors on the wire: each in the dialect that its path belongs to, whatever raised it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from api.shared.dialect import Dialect
from api.wire.problem import Problem, problem_of
from api.wire.scopes import scope_of
from orchestrator.domain.errors import CogmillError, Unavailable
from orchestrator.domain.rights import ADMINISTRATIVE
from orchestrator.telemetry import acting, logs

log = logs.get("api")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def install(app: FastAPI, dialects: Sequence[Dialect]) -> None:
    """Answer every foreseen exception in one of these dialects; the unforeseen ones are `middleware.Edge`'s."""
    app.state.dialects = dialects
    for kind in (CogmillError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    path = request.url.path
    if problem.status == 403:
        _note_refusal(request, problem.code)
    if isinstance(error, Unavailable):
        log.warning("unavailable", part=type(error).__name__, error=str(error), path=path)
    elif problem.status >= 500:
        log.error("request_failed", part=type(error).__name__, error=str(error), path=path)
    if problem.status == 405:
        problem = replace(problem, headers={"allow": _methods(request)})
    return response(request.scope, problem)


def _note_refusal(request: Request, reason: str) -> None:
    """Count what a good key may not do, where it is an administrator's request."""
    key, route = getattr(request.state, "key", None), request.scope.get("route")
    if key is not None and scope_of(getattr(route, "openapi_extra", None)) in ADMINISTRATIVE:
        what = f"{request.method} {getattr(route, 'path', '')}"
        request.app.state.services.refusals.refused(reason, key, acting.current(), what)


def _methods(request: Request) -> str:
    """Every method of a path; the router itself knows only those of the first route that has the path."""
    return ", ".join(
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    )


def response(scope: Scope, problem: Problem) -> Response:
    """The answer to a request's problem, in its app's dialects."""
    return worded(scope["app"].state.dialects, scope["path"], problem)


def worded(dialects: Sequence[Dialect], path: str, problem: Problem) -> Response:
    """The answer to a problem on `path`, in the words of the first of the dialects when it is nobody's path."""
    dialect = next((each for each in dialects if path.startswith(each.prefix)), dialects[0])
    # Escaped to ASCII: a message may quote half a surrogate pair, which UTF-8 cannot encode.
    content = json.dumps(dialect.docs.word(problem).model_dump(), ensure_ascii=True)
    return Response(content, problem.status, dict(problem.headers), "application/json")
