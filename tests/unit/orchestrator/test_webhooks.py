"""What receivers are told, how it is signed, and when it is told again."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast

import httpcore
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from orchestrator.adapters.fetch import GuardedTransport
from orchestrator.adapters.webhook_http import HttpSender, host_of
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import TRANSITIONS
from orchestrator.domain.webhooks import (
    EVENT_TYPES,
    Answer,
    EventType,
    Fate,
    Reply,
    Silence,
    asked_pause_s,
    event_body,
    judge,
    secret,
    secret_owner,
)
from orchestrator.notify.outbox import RECORD_S, Deliverer, signed
from orchestrator.ports import Try, WebhookStore
from tests.support.receivers import webhook_settings

POLICY = RetryPolicy(base_s=5, cap_s=4 * 3600)
KEYS = [secret("a master key", "endpoint:whe_1", generation) for generation in (1, 2)]

jitters = st.floats(0, 1, exclude_max=True)
attempts = st.integers(1, 10_000)


def test_every_end_of_a_job_is_an_event() -> None:
    assert {f"job.{state}" for state, onward in TRANSITIONS.items() if not onward} <= set(EVENT_TYPES)
    assert set(EVENT_TYPES.values()) == set(EventType)


def test_the_body_is_openais() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert json.loads(event_body("evt_1", EventType.VIDEO_FAILED, moment, "video_1")) == {
        "id": "evt_1",
        "object": "event",
        "created_at": 1767225600,
        "type": "video.failed",
        "data": {"id": "video_1"},
    }


def test_secrets_are_of_a_legal_length_and_differ_by_owner_and_generation() -> None:
    owners = [secret_owner("acme", None), secret_owner("acme", "whe_1"), secret_owner("whe_1", None)]
    secrets = {secret(key, owner, generation) for key in "ab" for owner in owners for generation in (1, 2)}
    assert len(secrets) == 12
    for each in secrets:
        assert 24 <= len(base64.b64decode(each.removeprefix("whsec_"), validate=True)) <= 64


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_either_secret_of_an_overlap_verifies_whatever_the_body(text: str) -> None:
    body = json.dumps({"text": text}, ensure_ascii=False)
    headers = signed(KEYS, "evt_1", body, datetime.now(UTC))
    for key in KEYS:
        assert Webhook(key).verify(body.encode(), headers) == {"text": text}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret("another", "endpoint:whe_1", 1)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEYS[0]).verify(f"{body} ", headers)


@given(attempts, jitters, st.one_of(st.none(), st.floats(0, 1e9)), st.sampled_from([302, 400, 404, 429, 500, 503]))
def test_a_pause_grows_to_its_cap_and_a_receiver_may_only_lengthen_it(
    attempt: int, jitter: float, asked_s: float | None, status: int
) -> None:
    verdict = judge(Reply(status=status, retry_after_s=asked_s), attempt, POLICY, jitter)
    ours_s = judge(Silence(error="no answer"), attempt, POLICY, jitter).delay_s
    full = min(POLICY.cap_s, POLICY.base_s * 2.0 ** min(attempt - 1, 32))
    assert 0.75 * full <= ours_s <= 1.25 * full
    assert verdict.fate is Fate.RETRY
    assert verdict.delay_s == max(ours_s, min(asked_s or 0, POLICY.cap_s))


@given(st.integers(200, 299), attempts, jitters)
def test_any_2xx_is_delivered(status: int, attempt: int, jitter: float) -> None:
    assert judge(Reply(status=status), attempt, POLICY, jitter).fate is Fate.DELIVERED


def test_410_is_for_ever() -> None:
    assert judge(Reply(status=410), 1, POLICY, 0).fate is Fate.GONE


@pytest.mark.parametrize(
    "url",
    ["https://Hooks.Example.com/a", "https://hooks.example.com.:444/b?c", "http://hooks.example.com:8080"],
)
def test_a_host_is_one_host_whatever_its_port_and_spelling(url: str) -> None:
    assert host_of(httpx.URL(url)) == "hooks.example.com"


async def _retry_after(text: str) -> float | None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers=[(b"retry-after", text.encode("latin-1"))], stream=httpx.ByteStream(b""))

    sender = HttpSender(timeout_s=5, transport=httpx.MockTransport(answer))
    reply = await sender.send("https://example.com", {}, b"")
    assert isinstance(reply, Reply)
    return reply.retry_after_s


@pytest.mark.parametrize(("text", "seconds"), [("120", 120), ("0", 0), ("", None), ("soon", None), ("-1", None)])
async def test_retry_after_holds_seconds_or_nothing(text: str, seconds: float | None) -> None:
    assert await _retry_after(text) == seconds


async def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=90)
    asked_s = await _retry_after(later.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    assert asked_s == pytest.approx(90, abs=5)


# Years, days, hours and zones beyond what a date, or a machine word, can hold.
_DATES = st.from_regex(r"(?a)\AMon, \d{1,12} (Feb|May) \d{1,30} \d\d:\d\d:\d\d (GMT|XYZ|[+-]\d{1,30})?\Z")
_TEXTS = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60)


@given(st.one_of(_TEXTS, _DATES, st.from_regex(r"(?a)\A\d{1,5000}\Z")))
@example("Fri, 31 Dec 99999999999 23:59:59 GMT")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("9" * 5000)
def test_whatever_a_receiver_asks_for_the_pause_stays_within_its_bounds(text: str) -> None:
    asked_s = asked_pause_s(text, datetime.now(UTC))
    assert asked_s is None or asked_s >= 0
    verdict = judge(Reply(status=503, retry_after_s=asked_s), 1, POLICY, 0)
    assert (verdict.fate, verdict.delay_s <= POLICY.cap_s) == (Fate.RETRY, True)


def test_a_far_date_or_number_asks_for_the_longest_pause() -> None:
    for text in ("Fri, 31 Dec 9999 23:59:59 GMT", "9" * 400):
        reply = Reply(status=429, retry_after_s=asked_pause_s(text, datetime.now(UTC)))
        assert judge(reply, 1, POLICY, 0).delay_s == POLICY.cap_s


# What a server may put into a header's value (RFC 9110, 5.5), and what it may not.
_VALUES = st.binary(max_size=80).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""))
_NAMES = st.sampled_from(
    ["retry-after", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "upgrade",
     "location", "set-cookie", "date", "x"]
)  # fmt: skip


@cache  # it reads the certificates that this machine trusts, which takes a while
def _transport() -> GuardedTransport:
    return GuardedTransport()


async def _sent_to(raw: bytes) -> Answer:
    """What a try comes to when its receiver answers with these bytes and hangs up."""
    transport = _transport()
    transport._pool = httpcore.AsyncConnectionPool(network_backend=httpcore.AsyncMockBackend([raw]))
    return await HttpSender(timeout_s=5, transport=transport).send("http://example.com/", {}, b"{}")


@settings(deadline=None)
@given(
    st.integers(200, 299),
    st.one_of(_TEXTS, _DATES),
    st.sampled_from([b"", b"Content-Encoding: gzip\r\n", b"Content-Type: \xff\r\n", b"Date: never\r\n"]),
    st.sampled_from([b"Content-Length: 9\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"]),
    st.binary(max_size=200),
)
@example(200, "Fri, 31 Dec 99999999999 23:59:59 GMT", b"", b"\r\n", b"")
async def test_a_2xx_is_delivered_whatever_else_the_answer_says(
    status: int, retry_after: str, header: bytes, framing: bytes, body: bytes
) -> None:
    told = b"Retry-After: " + retry_after.strip().encode("latin-1") + b"\r\n"
    answer = await _sent_to(b"HTTP/1.1 %d Fine\r\n" % status + told + header + framing + body)
    assert judge(answer, 1, POLICY, 0).fate is Fate.DELIVERED


@settings(deadline=None)
@given(
    st.binary(max_size=300)
    | st.builds(
        lambda status, headers, body: (
            b"HTTP/1.1 %s \r\n" % status
            + b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
            + b"\r\n"
            + body
        ),
        st.sampled_from([b"200", b"503", b"302", b"410", b"100", b"101", b"999", b"000", b"20"]),
        st.lists(st.tuples(_NAMES, _VALUES), max_size=6),
        st.binary(max_size=100),
    )
)
@example(b"HTTP/1.1 200 \r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")
async def test_no_answer_breaks_a_delivery(raw: bytes) -> None:
    assert judge(await _sent_to(raw), 1, POLICY, 0).delay_s <= POLICY.cap_s


class Leases:
    """Of a store only what is leased, and for how long."""

    def __init__(self) -> None:
        self.lease_s = 0.0

    async def lease_deliveries(self, *, lease_s: float, **_: int) -> list[Try]:
        self.lease_s = lease_s
        return []


@pytest.mark.parametrize("timeout_s", [1.0, 15.0, 60.0])
async def test_a_lease_outlasts_its_try_and_the_recording_of_it(timeout_s: float) -> None:
    """Or a second process would send what the first one is still sending."""
    store = Leases()
    told, unused = webhook_settings("postgresql://unused", timeout_s=timeout_s), cast(Any, None)
    ring = told.needed_ring
    await Deliverer(cast(WebhookStore, store), unused, told, unused, random.Random(1), masters=ring).run_once()
    assert RECORD_S > 0
    assert store.lease_s >= timeout_s + RECORD_S
