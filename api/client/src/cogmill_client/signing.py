"""Webhooks as the Standard Webhooks specification signs them: verified with nothing but the standard library."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Mapping

from pydantic import ValidationError

from cogmill_client.errors import ConfigurationError, InvalidSignature
from cogmill_client.models.webhooks import WebhookEvent

TOLERANCE_S = 300.0
_PREFIX = "whsec_"


def verify(payload: bytes | str, headers: Mapping[str, str], secret: str) -> WebhookEvent:
    """The event of a delivery. `payload` is the body as it came, byte for byte; the case of headers does not matter.

    Raises `InvalidSignature` for one that is not signed with `secret`, or not within five minutes of now.
    """
    body = payload.encode() if isinstance(payload, str) else payload
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split(" ")
    except KeyError as error:
        raise InvalidSignature(f"the header {error.args[0]} is missing") from None
    _check_time(sent_at)
    wanted = sign(body, message_id, sent_at, secret).encode()
    # Every one is compared: which of several secrets signed takes as long to find out as none.
    good = [hmac.compare_digest(one.encode(), wanted) for one in signatures]
    if not any(good):
        raise InvalidSignature("no signature of this delivery was made with this secret")
    try:
        return WebhookEvent.model_validate_json(body)
    except ValidationError as error:
        raise InvalidSignature(f"the body is signed, and no event: {error.errors()[0]['msg']}") from None


def sign(body: bytes, message_id: str, sent_at: str, secret: str) -> str:
    """`v1,` and the signature in base 64."""
    digest = hmac.digest(_key(secret), b".".join((message_id.encode(), sent_at.encode(), body)), "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def _check_time(sent_at: str) -> None:
    try:
        age_s = time.time() - int(sent_at)
    except ValueError:
        raise InvalidSignature("the header webhook-timestamp is no time") from None
    if abs(age_s) > TOLERANCE_S:
        raise InvalidSignature(f"signed {'too long ago' if age_s > 0 else 'in the future'}: by {abs(age_s):.0f} s")


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"a webhook's secret is {_PREFIX} and base 64") from None
