"""Clients of the API that are signed in to the console, as a browser is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from tests.support.api import in_process

SESSION, COOKIE = "/console/session", "cogmill_session"


async def sign_in(http: httpx.AsyncClient, key: str, **headers: str) -> dict[str, Any]:
    """Sign a client in with this key: it has the cookie, and sends the CSRF token, from now on."""
    answer = await http.post(SESSION, json={"key": key}, headers=headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    http.headers["x-csrf-token"] = body["csrf"]
    return body


@asynccontextmanager
async def signed_in(app: FastAPI, key: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that has a cookie and no key."""
    async with in_process(app, **options) as http:
        await sign_in(http, key)
        yield http
