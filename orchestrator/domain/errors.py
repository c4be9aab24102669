"""The error tree, and the map of it.

CogmillError
├── RequestError             the caller can mend it; each dialect translates `code` and `param` into its own body
│   ├── InvalidField         a field is missing, of the wrong type, or out of range
│   ├── UnknownModel         no configured model has that name
│   ├── Unsupported          legal in the dialect, but this deployment cannot do it; named, never ignored
│   ├── Unauthenticated      no key, a malformed key, a revoked or expired key
│   ├── Forbidden            the key is good, and may not do this
│   │   ├── MissingScope     it lacks the scope that the route needs
│   │   ├── AddressRefused   it may not be used from where the request comes from
│   │   ├── BeyondOwn        it would make, replace or revoke a key that may more than itself
│   │   ├── ForgedRequest    another site's page sent it, or one that cannot show that it is the console
│   │   ├── TenantErased     its tenant is being erased: nothing new is taken for it
│   │   └── NoAccess         a person's token is good, and gives no role or no tenant here
│   ├── NotFound             no such job of this tenant (someone else's is not found either)
│   ├── NotReady             the video is asked for before it is finished
│   ├── TooLarge             the body, a file or an image is larger than this deployment accepts
│   ├── KeyReused            an idempotency key came before, with another request
│   ├── WrongState           what is asked for cannot be done to a job, batch, campaign or file that stands as it does
│   ├── PlanChanged          another plan was approved than the one that holds; says the token of this one
│   ├── Outdated             somebody else has changed it meanwhile: read it again
│   ├── Refused              the moderation hook does not allow it
│   └── LimitExceeded        one of the tenant's limits; says whether and when trying again helps
├── Unavailable              a part that is needed does not answer: trying again later helps
│   ├── Crowded              this process holds as much for its callers as it may
│   ├── StoreUnavailable     PostgreSQL
│   │   ├── StoreRefused     it did not take the request at all: nothing was written
│   │   │   └── StoreReadOnly  since it is a standby, or read-only
│   │   └── SubmitUnconfirmed  while a job was being inserted: it may be there
│   ├── ObjectsUnavailable   S3
│   │   └── ObjectsRefused   it answers, and does not do it to these objects: others may fare better
│   ├── KubernetesUnavailable  its API does not answer; what was asked may be done
│   ├── ScratchUnavailable   this process's own disk, full or broken
│   ├── ModerationUnavailable  the moderation hook, where no answer means no
│   └── IssuerUnavailable    an issuer of people's tokens, whose public keys are not known
├── WorkerError              talking to a worker went wrong
│   ├── WorkerLost           its process or node is gone for good; an actor of that name has a new incarnation
│   ├── WorkerUnreachable    it does not answer now; it may yet
│   ├── ProtocolMismatch     it runs a release that speaks another protocol
│   └── StaleEpoch           a newer dispatcher drives this cluster: this one must stop
├── LeaseLost                what somebody held is another's now, or is no longer as it was: stop, write nothing
├── RenderFailed             an attempt ended without a video; says whether another try could help
├── IntegrityError           an object read back is not the object that was written
├── KubernetesRefused        its API answers, and does not do it: an account may not, or an object is not valid
├── ConfigError              a setting is missing or wrong; the message names its key
└── IllegalTransition        a bug: somebody asked for a transition that the table does not have
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.domain.failure import FailureCode


class CogmillError(Exception):
    """Base of everything Cogmill raises on purpose."""


class RequestError(CogmillError):
    """A request that its caller can mend. `param` is the field to blame as the caller wrote it, or None."""

    # A stable word for machines.
    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidField(RequestError):
    """A field has the wrong type or a value out of range. `code` may be set to say more (`missing`, `too_long`)."""

    code = "invalid_value"

    def __init__(self, message: str, *, param: str | None, code: str | None = None) -> None:
        super().__init__(message, param=param)
        if code is not None:
            self.code = code


class UnknownModel(RequestError):
    code = "model_not_found"

    def __init__(self, model: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown model {model[:80]!r}; this deployment has: {', '.join(known)}", param="model")


class Unsupported(RequestError):
    code = "unsupported_value"


class Unauthenticated(RequestError):
    """`reason` is one of `missing`, `malformed`, `invalid`, `unverified` (a signature), `revoked`, `expired`."""

    code = "invalid_api_key"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(RequestError):
    """The key is good, and may not do this."""

    code = "forbidden"


class MissingScope(Forbidden):
    """`scope` is the one that the key lacks."""

    code = "missing_scope"

    def __init__(self, scope: str, *, operators: bool = False) -> None:
        # The words that OpenAI's own clients know (github.com/microsoft/PowerToys/issues/32989).
        message = f"You have insufficient permissions for this operation. Missing scopes: {scope}."
        super().__init__(f"{message} Only an operator's key has it." if operators else message)
        self.scope = scope
        if operators:
            self.code = "operators_only"


class AddressRefused(Forbidden):
    code = "address_not_allowed"


class BeyondOwn(Forbidden):
    code = "beyond_own_rights"


class ForgedRequest(Forbidden):
    """A browser sent it with a session's cookie, and the console did not."""

    code = "csrf"


class TenantErased(Forbidden):
    code = "tenant_erased"

    def __init__(self) -> None:
        super().__init__("the tenant is being erased: nothing new is taken for it")


class NoAccess(Forbidden):
    """Who asks is known by an issuer's token, which stands for nothing here."""

    code = "no_access"


class NotFound(RequestError):
    code = "not_found"


class NotReady(RequestError):
    code = "video_not_ready"


class TooLarge(RequestError):
    code = "request_too_large"


class KeyReused(RequestError):
    code = "idempotency_key_reused"


class WrongState(RequestError):
    code = "wrong_state"


class PlanChanged(RequestError):
    """`token` is that of the plan as it is now."""

    code = "plan_changed"

    def __init__(self, message: str, *, token: str | None) -> None:
        super().__init__(message, param="plan_token")
        self.token = token


class Outdated(RequestError):
    code = "version_conflict"


class Refused(RequestError):
    code = FailureCode.CONTENT_POLICY_VIOLATION.value  # the word of a finished video that is refused, too


class LimitExceeded(RequestError):
    """A tenant's limit.

    `limit` is one of `requests_per_s`, `queued`, `gpu_seconds_per_day`, `largest_request`, `most_urgent`,
    `open_batches`, `open_campaigns`, `waiting_rows`, `row_bytes`, `files`, `stored_bytes`,
    `webhook_endpoints`, `keys`, `event_streams`, `large_bodies`, `requests_in_flight`, `body_bytes`, `downloads`.
    `retry_after_s` is when trying again may help, None when it never does. `most` is the limit's value and `used` what
    counts against it, where they are known.
    """

    code = "limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        limit: str,
        retry_after_s: float | None,
        param: str | None = None,
        most: int | None = None,
        used: int | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.limit = limit
        self.retry_after_s = retry_after_s
        self.most = most
        self.used = used


class Unavailable(CogmillError):
    """A part that is needed does not answer now."""


class Crowded(Unavailable):
    """One process holds as much for all its callers together as it may; nothing was begun."""


class StoreUnavailable(Unavailable):
    pass


class StoreRefused(StoreUnavailable):
    """Nothing was written: there was no connection, or the server does not write."""


class StoreReadOnly(StoreRefused):
    """The server is a standby, or read-only."""


class SubmitUnconfirmed(StoreUnavailable):
    """The store did not confirm a submit: its job may be queued or may not, so sending it again could render twice."""


class ObjectsUnavailable(Unavailable):
    pass


class ObjectsRefused(ObjectsUnavailable):
    """S3 answers, and will not do this to `keys`."""

    def __init__(self, message: str, *, keys: Collection[str]) -> None:
        super().__init__(message)
        self.keys = frozenset(keys)


class KubernetesUnavailable(Unavailable):
    pass


class ScratchUnavailable(Unavailable):
    pass


class ModerationUnavailable(Unavailable):
    pass


class IssuerUnavailable(Unavailable):
    """The message names the issuer as the settings do, and is for callers, too."""


class WorkerError(CogmillError):
    """Talking to a worker went wrong."""


class WorkerLost(WorkerError):
    pass


class WorkerUnreachable(WorkerError):
    pass


class ProtocolMismatch(WorkerError):
    pass


class StaleEpoch(WorkerError):
    pass


class LeaseLost(CogmillError):
    pass


class RenderFailed(CogmillError):
    """An attempt ended without a video.

    `retryable` says whether another try, perhaps on another worker, could end differently.
    """

    def __init__(self, code: FailureCode, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


class IntegrityError(CogmillError):
    pass


class KubernetesRefused(CogmillError):
    pass


class ConfigError(CogmillError):
    pass


class IllegalTransition(CogmillError):
    def __init__(self, current: object, target: object) -> None:
        super().__init__(f"no transition from {current} to {target}")
