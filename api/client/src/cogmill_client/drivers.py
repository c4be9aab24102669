"""The two that act: a procedure run to its end, or item by item, on a blocking and on an async httpx client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

from cogmill_client.effects import Close, Effect, Exchange, Item, Items, Open, Read, Request, Retries, Run, Sleep, Steps
from cogmill_client.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a procedure has returned."""

    value: Any


# What became of an effect: what it answers, or what it raised.
_Acted: TypeAlias = tuple[Any, None] | tuple[None, Exception]


def _advance(steps: Steps[Any], answer: Any = None, error: Exception | None = None) -> Effect | _Ended:
    """What the procedure asks for next."""
    try:
        return steps.send(answer) if error is None else steps.throw(error)
    except StopIteration as end:
        return _Ended(end.value)


def _outgoing(client: httpx.Client | httpx.AsyncClient, settings: Settings, request: Request) -> httpx.Request:
    """httpx's request. A path is put behind the base URL, and the key goes to nobody else."""
    url = request.url if "://" in request.url else settings.base_url + request.url
    headers = {"user-agent": settings.user_agent, **request.headers}
    if not request.anonymous:
        headers["authorization"] = f"Bearer {settings.api_key}"
    content: Iterator[bytes] | AsyncIterator[bytes] | None = None
    if request.body is not None:
        headers |= request.body.headers()
        blocking = isinstance(client, httpx.Client)
        content = request.body.stream() if blocking else request.body.async_stream()
    timeout = httpx.Timeout(settings.timeout_s, connect=min(10.0, settings.timeout_s))
    if request.silence_s is not None:
        timeout.read = request.silence_s
    return client.build_request(
        request.method,
        url,
        params=list(request.query) or None,
        headers=headers,
        content=content,
        json=request.json,
        data=request.form,
        files=None if request.file is None else {"file": request.file},
        timeout=timeout,
    )


class Driver:
    """Runs procedures and blocks. May be shared by threads, as httpx's client may."""

    def __init__(self, client: httpx.Client, settings: Settings) -> None:
        self.settings = settings
        self._client = client

    def run(self, steps: Steps[T]) -> T:
        """What the procedure returns."""
        opened: dict[httpx.Response, Iterator[bytes]] = {}
        try:
            step = _advance(steps)
            while not isinstance(step, _Ended):
                step = _advance(steps, *self._acted(step, opened))
            result: T = step.value
            return result
        finally:
            steps.close()
            for response in opened:
                response.close()

    def each(self, items: Items[T]) -> Iterator[T]:
        """The procedure's items, one by one, as they are asked for."""
        opened: dict[httpx.Response, Iterator[bytes]] = {}
        try:
            step = _advance(items.steps)
            while not isinstance(step, _Ended):
                if isinstance(step, Item):
                    yield step.value
                    step = _advance(items.steps)
                else:
                    step = _advance(items.steps, *self._acted(step, opened))
        finally:
            items.steps.close()
            for response in opened:
                response.close()

    def close(self) -> None:
        self._client.close()

    def _acted(self, effect: Effect, opened: dict[httpx.Response, Iterator[bytes]]) -> _Acted:
        try:
            return self._act(effect, opened), None
        except Exception as error:
            return None, error

    def _act(self, effect: Effect, opened: dict[httpx.Response, Iterator[bytes]]) -> Any:
        match effect:
            case Exchange(request):
                return self._client.send(_outgoing(self._client, self.settings, request))
            case Open(request):
                response = self._client.send(_outgoing(self._client, self.settings, request), stream=True)
                if response.status_code >= 300:
                    response.read()
                opened[response] = response.iter_bytes()
                return response
            case Read(response):
                return next(opened[response], None)
            case Close(given):
                for one in list(opened) if given is None else [given]:
                    opened.pop(one, None)
                    one.close()
                return None
            case Sleep(seconds):
                return time.sleep(seconds)
            case Run(function):
                return function()
            case Retries():
                return self.settings.max_retries
            case Item():
                raise AssertionError("a procedure with items is iterated, not run")


class AsyncDriver:
    """The same on an event loop: what the disk does is done in threads."""

    def __init__(self, client: httpx.AsyncClient, settings: Settings) -> None:
        self.settings = settings
        self._client = client

    async def run(self, steps: Steps[T]) -> T:
        """What the procedure returns."""
        opened: dict[httpx.Response, AsyncIterator[bytes]] = {}
        try:
            step = _advance(steps)
            while not isinstance(step, _Ended):
                step = _advance(steps, *await self._acted(step, opened))
            result: T = step.value
            return result
        finally:
            steps.close()
            for response in opened:
                await response.aclose()

    async def each(self, items: Items[T]) -> AsyncIterator[T]:
        """The procedure's items, one by one, as they are asked for."""
        opened: dict[httpx.Response, AsyncIterator[bytes]] = {}
        try:
            step = _advance(items.steps)
            while not isinstance(step, _Ended):
                if isinstance(step, Item):
                    yield step.value
                    step = _advance(items.steps)
                else:
                    step = _advance(items.steps, *await self._acted(step, opened))
        finally:
            items.steps.close()
            for response in opened:
                await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()

    async def _acted(self, effect: Effect, opened: dict[httpx.Response, AsyncIterator[bytes]]) -> _Acted:
        try:
            return await self._act(effect, opened), None
        except Exception as error:
            return None, error

    async def _act(self, effect: Effect, opened: dict[httpx.Response, AsyncIterator[bytes]]) -> Any:
        match effect:
            case Exchange(request):
                return await self._client.send(_outgoing(self._client, self.settings, request))
            case Open(request):
                response = await self._client.send(_outgoing(self._client, self.settings, request), stream=True)
                if response.status_code >= 300:
                    await response.aread()
                opened[response] = response.aiter_bytes()
                return response
            case Read(response):
                return await anext(opened[response], None)
            case Close(given):
                for one in list(opened) if given is None else [given]:
                    opened.pop(one, None)
                    await one.aclose()
                return None
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Run(function):
                return await asyncio.to_thread(function)
            case Retries():
                return self.settings.max_retries
            case Item():
                raise AssertionError("a procedure with items is iterated, not run")
