"""The moderation hook: only a clear answer is one, and what no answer means is the configuration's to say."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.moderation import Moderation, NoAnswer, Review, review_of
from orchestrator.config import ModerationSettings
from orchestrator.domain.errors import ConfigError, ModerationUnavailable, Refused, RenderFailed
from orchestrator.ports import Picture
from tests.support import moderators
from tests.support.builders import a_spec
from tests.support.sockets import free_port

PICTURE = Picture(data=b"\x89PNG\x00", content_type="image/png", width=8, height=8)

answers = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["allowed", "reason", "x"]), inner),
)


@dataclass
class Service:
    """An operator's endpoint, which answers as it is told and remembers what it was sent."""

    url: str
    status: int = 200
    answer: bytes = json.dumps(moderators.YES).encode()
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    received: list[tuple[str, bytes]] = field(default_factory=list)


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if "content-length" in self.headers:
                body = self.rfile.read(int(self.headers["content-length"]))
                told.received.append((self.headers["content-type"], body))
            time.sleep(told.delay_s)
            self.send_response(told.status)
            for name, value in {"content-length": str(len(told.answer)), **told.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.answer)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """The caller that hung up is what the test is about."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        told = Service(f"http://127.0.0.1:{server.server_port}/review")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield told
        server.shutdown()


def hook(**settings: Any) -> Moderation:
    return Moderation(ModerationSettings.model_validate(settings))


async def review(moderation: Moderation, picture: Picture | None = None) -> None:
    await moderation.review("acme", "a mill", picture)


def at(function: Any) -> str:
    return f"{function.__module__}:{function.__name__}"


def test_nobody_is_asked_unless_somebody_is_configured() -> None:
    asyncio.run(review(hook()))
    hook(video=True).review_video(Path("/nowhere"), UUID(int=1), a_spec())


async def test_the_endpoint_is_told_who_asks_for_what(service: Service) -> None:
    await review(hook(url=service.url), PICTURE)
    await review(hook(url=service.url, image=True), PICTURE)
    await review(hook(url=service.url, image=True, prompt=False))  # nothing to look at
    told = [(kind, json.loads(body)) for kind, body in service.received]
    prompt = {"subject": "request", "tenant": "acme", "prompt": "a mill"}
    image = {"content_type": "image/png", "data": base64.b64encode(PICTURE.data).decode()}
    assert told == [("application/json", prompt), ("application/json", prompt | {"image": image})]


async def test_what_the_video_must_not_show_is_told_apart_and_may_be_what_is_refused(service: Service) -> None:
    moderation = hook(url=service.url, image=True)
    await moderation.review("acme", "a mill", None, negative_prompt="people")
    await hook(url=service.url, prompt=False).review("acme", "a mill", None, negative_prompt="people")
    told = {"subject": "request", "tenant": "acme", "prompt": "a mill", "negative_prompt": "people"}
    assert [json.loads(body) for _, body in service.received] == [told]
    for param, blamed in (("negative_prompt", "negative_prompt"), ("image", None), ("x", None), ([], None)):
        service.answer = json.dumps(moderators.NO | {"param": param}).encode()
        with pytest.raises(Refused) as refused:
            await moderation.review("acme", "a mill", None, negative_prompt="people")
        assert refused.value.param == blamed


async def test_a_refusal_says_why(service: Service) -> None:
    service.answer = json.dumps(moderators.NO).encode()
    with pytest.raises(Refused, match="not on this service") as refused:
        await review(hook(url=service.url))
    assert refused.value.code == "content_policy_violation"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 500}, {"status": 201}, {"status": 302, "headers": {"location": "/elsewhere"}},
        {"answer": b""}, {"answer": b"yes"}, {"answer": b'{"allowed": "true"}'}, {"answer": b"[true]"},
        {"answer": b'{"allowed": true}' + b" " * 70_000}, {"delay_s": 1.0}, {"headers": {"content-length": "9999"}},
    ],
    ids=lambda changes: str(changes)[:60],
)  # fmt: skip
async def test_anything_but_a_clear_answer_is_none(service: Service, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(service, name, value)
    settings = {"url": service.url, "timeout_s": 0.3}
    with pytest.raises(ModerationUnavailable):
        await review(hook(**settings))
    await review(hook(**settings, fail_open=True))


async def test_an_endpoint_that_is_away_gives_no_answer() -> None:
    settings = {"url": f"http://127.0.0.1:{free_port()}"}
    with pytest.raises(ModerationUnavailable):
        await review(hook(**settings))
    await review(hook(**settings, fail_open=True))


def test_a_finished_video_is_sent_as_it_is_with_what_it_was_made_from(service: Service, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(bytes(range(256)) * 1000)
    hook(url=service.url, video=True).review_video(video, UUID(int=1), a_spec())
    [(kind, body)] = service.received
    form = email.message_from_bytes(f"Content-Type: {kind}\n\n".encode() + body, policy=email.policy.HTTP)
    facts, sent = form.iter_parts()
    assert json.loads(facts.get_payload(decode=True)) == {
        "subject": "video", "job": f"video_{UUID(int=1).hex}", "model": "tiny-2b", "prompt": "a mill on a river",
    }  # fmt: skip
    assert sent.get_content_type() == "video/mp4"
    assert sent.get_payload(decode=True) == video.read_bytes()


def test_a_refused_video_fails_for_good_and_an_unreviewed_one_may_be_tried_again(
    service: Service, tmp_path: Path
) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(b"mp4")
    service.answer = json.dumps(moderators.NO).encode()
    with pytest.raises(RenderFailed) as refused:
        hook(url=service.url, video=True).review_video(video, UUID(int=1), a_spec())
    assert (refused.value.code, refused.value.retryable) == ("content_policy_violation", False)
    service.status = 503
    with pytest.raises(RenderFailed) as unanswered:
        hook(url=service.url, video=True).review_video(video, UUID(int=1), a_spec())
    assert unanswered.value.retryable
    hook(url=service.url, video=True, fail_open=True).review_video(video, UUID(int=1), a_spec())
    hook(url=service.url).review_video(video, UUID(int=1), a_spec())


async def test_an_entry_point_gets_the_bytes_and_the_file(tmp_path: Path) -> None:
    moderators.seen.clear()
    moderation = hook(entry_point=at(moderators.permits), image=True, video=True)
    await review(moderation, PICTURE)
    await asyncio.to_thread(moderation.review_video, tmp_path, UUID(int=1), a_spec())
    assert moderators.seen[0]["image"] == {"content_type": "image/png", "data": PICTURE.data}
    assert moderators.seen[1]["video"] == str(tmp_path)


async def test_an_entry_point_may_be_a_coroutine() -> None:
    with pytest.raises(Refused, match="not on this service"):
        await review(hook(entry_point=at(moderators.refuses)))


@pytest.mark.parametrize("function", [moderators.dawdles, moderators.breaks, moderators.mumbles])
async def test_an_entry_point_that_fails_gives_no_answer_and_never_blocks_the_loop(function: Any) -> None:
    settings = {"entry_point": at(function), "timeout_s": 0.1}
    began = time.monotonic()
    with pytest.raises(ModerationUnavailable):
        await review(hook(**settings))
    await review(hook(**settings, fail_open=True))
    assert time.monotonic() - began < 0.4


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("entry_point", "json"), ("entry_point", "json:no_such"), ("entry_point", "no.such.module:f"),
        ("entry_point", "json:__name__"), ("entry_point", ":"), ("url", "example.com/x"), ("url", "ftp://x"),
        ("url", "http://"), ("url", "http://[::1"),
    ],
)  # fmt: skip
def test_a_hook_that_can_never_be_asked_is_refused_by_its_setting(setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^moderation\.{setting}: "):
        hook(**{setting: value})


@given(answers)
def test_only_a_boolean_named_allowed_is_an_answer(answer: object) -> None:
    clear = isinstance(answer, dict) and isinstance(answer.get("allowed"), bool)
    if not clear:
        with pytest.raises(NoAnswer):
            review_of(answer)
        return
    verdict = review_of(answer)
    assert isinstance(answer, dict)
    assert verdict == Review(allowed=answer["allowed"], reason=verdict.reason)
    assert verdict.reason
    assert verdict.reason.isprintable()
