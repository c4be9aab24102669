"""The client's check of webhooks, against the reference implementation, in both directions."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from cogmill_client import Cogmill, ConfigurationError, InvalidSignature
from cogmill_client.signing import sign
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
BODY = json.dumps(
    {"id": "evt_1", "object": "event", "created_at": 1, "type": "video.completed", "data": {"id": "video_ü"}},
    ensure_ascii=False,
)
verify = Cogmill("key", "http://api.test").webhooks.verify


def headers(*, age_s: float = 0, secret: str = SECRET, body: str = BODY) -> dict[str, str]:
    """As the reference implementation signs."""
    moment = datetime.fromtimestamp(int(time.time() - age_s), UTC)
    return {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("evt_1", moment, body),
    }


@pytest.mark.parametrize("payload", [BODY, BODY.encode()])
def test_what_the_reference_signs_is_verified(payload: str | bytes) -> None:
    event = verify(payload, headers(), SECRET)
    assert (event.type, event.data) == ("video.completed", {"id": "video_ü"})
    assert verify(payload, headers(), SECRET.removeprefix("whsec_")).id == "evt_1"


def test_what_we_sign_the_reference_verifies() -> None:
    now = str(int(time.time()))
    signed = {
        "webhook-id": "m", "webhook-timestamp": now, "webhook-signature": sign(BODY.encode(), "m", now, SECRET),
    }  # fmt: skip
    assert Webhook(SECRET).verify(BODY, signed)["type"] == "video.completed"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + " ", signed)


def test_any_of_several_signatures_will_do() -> None:
    given = headers()
    other = headers(secret=f"whsec_{base64.b64encode(b'o' * 32).decode()}")["Webhook-Signature"]
    given["Webhook-Signature"] = f"{other} v1a,asymmetric {given['Webhook-Signature']}"
    assert verify(BODY, given, SECRET).id == "evt_1"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"Webhook-Id": "evt_2"}, "no signature"),
        ({"Webhook-Signature": "v1,AAAA"}, "no signature"),
        ({"Webhook-Signature": "v1,ü"}, "no signature"),
        ({"Webhook-Signature": ""}, "no signature"),
        ({"Webhook-Timestamp": "soon"}, "no time"),
    ],
)
def test_what_was_tampered_with_is_refused(changed: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidSignature, match=why):
        verify(BODY, headers() | changed, SECRET)


def test_another_body_another_secret_and_a_missing_header_are_refused() -> None:
    with pytest.raises(InvalidSignature):
        verify(BODY + " ", headers(), SECRET)
    with pytest.raises(InvalidSignature):
        verify(BODY, headers(), f"whsec_{base64.b64encode(b'o' * 32).decode()}")
    with pytest.raises(InvalidSignature, match="webhook-id is missing"):
        verify(BODY, {}, SECRET)
    with pytest.raises(ConfigurationError, match="secret"):
        verify(BODY, headers(), "whsec_?")


@pytest.mark.parametrize(("age_s", "good"), [(290, True), (310, False), (-290, True), (-310, False)])
def test_only_five_minutes_old_or_early_is_taken(age_s: float, good: bool) -> None:
    if good:
        assert verify(BODY, headers(age_s=age_s), SECRET).id == "evt_1"
    else:
        with pytest.raises(InvalidSignature, match=r"too long ago|in the future"):
            verify(BODY, headers(age_s=age_s), SECRET)


def test_a_signed_body_that_is_no_event_is_refused() -> None:
    with pytest.raises(InvalidSignature, match="no event"):
        verify("[]", headers(body="[]"), SECRET)
