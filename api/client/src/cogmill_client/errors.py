"""What the client raises, and the map of it.

CogmillError
├── ApiError                 the server answered with an error; each status that callers tell apart has its class
│   ├── BadRequest           400, 422: `param` names the field
│   ├── Unauthenticated      401
│   ├── Forbidden            403
│   ├── NotFound             404
│   ├── Conflict             409: a plan that changed, a state that does not allow it
│   ├── PreconditionFailed   412: somebody else changed it since the ETag that was sent
│   ├── TooLarge             413
│   ├── RateLimited          429: `retry_after_s` says when trying again helps
│   └── ServerError          5xx
├── BadAnswer                the server answered what this client cannot read
├── ConnectionFailed         no answer, or one that broke off, however often it was tried
├── ChecksumMismatch         the bytes that came are not those that were recorded
├── Timeout                  what was waited for did not come within the time that the caller gave
├── InvalidSignature         a webhook is not signed with this secret, or was signed too long ago
└── ConfigurationError       no API or key to use, an unknown profile, an argument that cannot be meant
"""

from __future__ import annotations


class CogmillError(Exception):
    """Base of everything that the client raises on purpose."""


class ApiError(CogmillError):
    """The server answered with an error. `param` is the field to blame, as the server calls it, or None.

    `code` is a stable word for machines. `request_id` finds the request in the server's logs. `tries` is how often it
    was sent; where that is more than once, an earlier one may have been carried out though nobody heard of it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.tries = 1


class BadRequest(ApiError):
    pass


class Unauthenticated(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class PreconditionFailed(ApiError):
    pass


class TooLarge(ApiError):
    pass


class RateLimited(ApiError):
    pass


class ServerError(ApiError):
    pass


class BadAnswer(CogmillError):
    pass


class ConnectionFailed(CogmillError):
    pass


class ChecksumMismatch(CogmillError):
    pass


class Timeout(CogmillError):
    pass


class InvalidSignature(CogmillError):
    pass


class ConfigurationError(CogmillError):
    pass


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    422: BadRequest,
    429: RateLimited,
}


def kind_of(status: int) -> type[ApiError]:
    """The class of an answer's error."""
    return ServerError if status >= 500 else _BY_STATUS.get(status, ApiError)
