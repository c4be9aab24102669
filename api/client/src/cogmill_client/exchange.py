"""One request with its retries, from the first try to a readable answer or an error that says why there is none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from cogmill_client.effects import Exchange, Open, Request, Retries, Sleep, Steps
from cogmill_client.errors import ApiError, BadAnswer, ConnectionFailed, kind_of

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
# A server that asks for more patience than this has its error handed to the caller.
LONGEST_RETRY_AFTER_S = 120.0

# What no second try mends.
_HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects, httpx.DecodingError)


def answer_of(request: Request, read: Callable[[httpx.Response], T]) -> Steps[T]:
    """Send a request, and read its answer. Raises `ApiError`, `ConnectionFailed`, `BadAnswer`."""
    response = yield from sent(request)
    return read(response)


def sent(request: Request, *, open_: bool = False) -> Steps[httpx.Response]:
    """The first good answer; `open_` leaves its body to be read. Raises `ApiError`, `ConnectionFailed`."""
    retries: int = yield Retries()
    attempt = 0
    while True:
        try:
            response: httpx.Response = yield Open(request) if open_ else Exchange(request)
        except httpx.HTTPError as error:
            last = isinstance(error, _HOPELESS) or not _repeatable(request, error) or attempt >= retries
            if last:
                raise ConnectionFailed(_why(request, error)) from error
            pause_s = backoff_s(attempt)
        else:
            if response.status_code < 300:
                return response
            failed = error_of(response)
            failed.tries = attempt + 1
            asked_s = _pause_s(response, failed, attempt) if _kept(request) else None
            if asked_s is None or attempt >= retries:
                raise failed
            pause_s = asked_s
        attempt += 1
        yield Sleep(pause_s)


def backoff_s(attempt: int) -> float:
    """Seconds to wait before the next try: doubled each time, and anywhere in the upper half of that."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1.0)


def reads(model: type[M]) -> Callable[[httpx.Response], M]:
    """Reads an answer's JSON as a model. Raises `BadAnswer`."""

    def read(response: httpx.Response) -> M:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise BadAnswer(f"{_where(response)} answered what is no {model.__name__}: {_first(error)}") from error

    return read


def reads_as(adapter: TypeAdapter[T], name: str) -> Callable[[bytes], T]:
    """Reads bytes of JSON. Raises `BadAnswer`."""

    def read(data: bytes) -> T:
        try:
            return adapter.validate_json(data)
        except ValidationError as error:
            raise BadAnswer(f"the server sent what is no {name}: {_first(error)}") from error

    return read


def error_of(response: httpx.Response) -> ApiError:
    """What an answer of 300 or more says went wrong, in whichever words."""
    said: dict[str, object] = {}
    try:
        body = response.json()
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            said = body["error"]
    except ValueError:
        pass
    status = response.status_code
    message = str(said.get("message") or "") or f"{_where(response)} was answered {status} {response.reason_phrase}"
    return kind_of(status)(
        message,
        status=status,
        code=_text(said.get("code")),
        param=_text(said.get("param")),
        request_id=response.headers.get("x-request-id"),
        retry_after_s=_retry_after_s(response),
    )


def _pause_s(response: httpx.Response, error: ApiError, attempt: int) -> float | None:
    """Seconds until the next try; None when there must be none."""
    retryable = error.status in (408, 429) or error.status >= 500
    if not retryable or response.headers.get("x-should-retry") == "false":
        return None
    if error.retry_after_s is None:
        return backoff_s(attempt)
    return None if error.retry_after_s > LONGEST_RETRY_AFTER_S else error.retry_after_s


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds from now, of a header that has seconds or a date."""
    text = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _repeatable(request: Request, error: httpx.HTTPError) -> bool:
    """Sent again is what never arrived, and what does no harm twice."""
    return _kept(request) and (request.repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout))


def _kept(request: Request) -> bool:
    """Whether all that it sends is still there after the first try, as it is not of a stream."""
    return (request.body is None or request.body.repeatable) and (request.file is None or request.repeatable)


def _why(request: Request, error: httpx.HTTPError) -> str:
    where = f"{request.method} {request.url.partition('?')[0]}"
    try:
        host = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    except RuntimeError:  # httpx, where it has no request yet
        host = "the server"
    if isinstance(error, httpx.TimeoutException):
        return f"{host} did not answer {where} in time"
    return f"{host} cannot be reached for {where}: {str(error) or type(error).__name__}"


def _where(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url.copy_with(query=None)}"


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first["loc"] else str(first["msg"])


def _text(value: object) -> str | None:
    return None if value is None else str(value)
