"""The client's event streams: typed, taken up again by their last id; and waiting, with them and without."""

from __future__ import annotations

from typing import Any

import cogmill_client as module
import httpx
import pytest
from cogmill_client.models import events
from cogmill_client.sse import Parser, Sse

from tests.support.cogmill_client import COUNTS, Client, campaign, client, error, stream, video

__all__ = ["client"]

DONE = video(status="completed", progress=100, step=2)
STEP = ("1.1", "step", {"step": 1, "steps": 2, "progress": 50})
END = ("1.2", "end", DONE)


class TestParser:
    WIRE = (
        b'\xef\xbb\xbf: hello\nretry: 1500\nid: 1\nevent: step\ndata: {"a":\ndata: 1}\n\n'
        b"event: nothing\n\r\ndata\r\rid: 2\r\ndata: \xc3\xbc\r\n\r\ndata: cut"
    )
    EVENTS = (Sse("step", '{"a":\n1}', "1"), Sse("message", "", "1"), Sse("message", "ü", "2"))

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
    def test_events_are_the_same_in_whatever_pieces_they_come(self, size: int) -> None:
        parser = Parser()
        pieces = [self.WIRE[at : at + size] for at in range(0, len(self.WIRE), size)]
        assert [event for piece in pieces for event in parser.feed(piece)] == list(self.EVENTS)
        assert (parser.last_id, parser.retry_s) == ("2", 1.5)


class TestEvents:
    def test_each_kind_has_its_class_and_a_new_one_comes_through(self, client: Client) -> None:
        client.answers(
            stream(
                ("1", "attempt", {"attempt": 1, "attempts": 1, "max_attempts": 3, "ended": []}),
                ("2", "stage", {"stage": "denoising", "attempt": 1}),
                (None, "queue", {"queue_reason": "paused"}),
                ("3", "step", {"step": 1, "steps": 2, "progress": 50}),
                ("4", "preview", {"url": "http://s3/x", "content_type": "image/png"}),
                ("5", "incident", {"incident": "preempted", "attempt": 1}),
                ("6", "mood", {"mood": "good"}),
                ("7", "end", DONE),
            )
        )
        heard = client(lambda c: c.videos.events("video_1"))
        assert [type(event) for event in heard] == [
            events.AttemptEvent, events.StageEvent, events.QueueEvent, events.StepEvent, events.PreviewEvent,
            events.IncidentEvent, events.OtherEvent, events.EndEvent,
        ]  # fmt: skip
        assert [event.id for event in heard] == ["1", "2", "2", "3", "4", "5", "6", "7"]
        assert (heard[3].progress, heard[-1].video.status) == (50, "completed")

    @pytest.mark.parametrize("breaks", [True, False])
    def test_a_stream_that_breaks_off_goes_on_behind_its_last_event(self, client: Client, breaks: bool) -> None:
        client.answers(stream(STEP, breaks=breaks), stream(END))
        heard = client(lambda c: c.videos.events("video_1", last_event_id="1.0"))
        assert [event.kind for event in heard] == ["step", "end"]
        assert [request.headers["last-event-id"] for request in client.asked] == ["1.0", "1.1"]

    def test_one_whose_end_was_heard_ends(self, client: Client) -> None:
        client.answers(httpx.Response(204))
        assert client(lambda c: c.videos.events("video_1", last_event_id="1.2")) == []

    def test_one_that_says_nothing_again_and_again_is_given_up(self, client: Client) -> None:
        client.answer = lambda request: stream(breaks=True)
        with pytest.raises(module.ConnectionFailed, match="broke off"):
            client(lambda c: c.videos.events("video_1"))
        assert len(client.asked) == 1 + client.max_retries

    def test_a_video_that_is_not_there_is_an_error(self, client: Client) -> None:
        client.answers(error(404))
        with pytest.raises(module.NotFound):
            client(lambda c: c.videos.events("video_1"))

    def test_a_campaigns_events_are_typed(self, client: Client) -> None:
        forecast = {"rows_per_hour": 9.0, "low_at": 1, "likely_at": 2, "high_at": 3, "at_risk": None}
        forecast |= {"made_at": 1, "reason": None, "advice": None}
        client.answers(
            stream(
                ("1.0", "state", {"state": "running", "pause_reasons": []}),
                ("1.1", "counts", {"counts": COUNTS, "rows_per_hour": 9.0, "forecast": forecast}),
                ("2.0", "end", campaign(state="completed")),
            )
        )
        state, counts, end = client(lambda c: c.campaigns.events("campaign_1"))
        assert (state.state, counts.counts.rows, counts.forecast.likely_at) == ("running", 0, 2)
        assert end.campaign.state == "completed"


class Server:
    """A video or a campaign that stands as `states` say, one for each time it is asked for, and its streams."""

    def __init__(self, states: list[dict[str, Any]], *streams: httpx.Response) -> None:
        self.states, self.streams = states, list(streams)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return self.streams.pop(0)
        return httpx.Response(200, json=self.states.pop(0) if len(self.states) > 1 else self.states[0])


class TestWaiting:
    def test_a_wait_hears_the_events_and_returns_the_video(self, client: Client) -> None:
        client.answer = Server([video(), DONE], stream(STEP, END))
        heard: list[Any] = []
        done = client(lambda c: c.videos.wait("video_1", on_event=heard.append))
        assert (done.status, [event.kind for event in heard]) == ("completed", ["step", "end"])
        assert client.slept == []

    @pytest.mark.parametrize("status", [429, 501])
    def test_where_no_stream_can_be_had_it_is_asked_for_again_and_again(self, client: Client, status: int) -> None:
        refused = error(status, x_should_retry="false")
        client.answer = Server([video(), video(status="in_progress", step=1), DONE], refused)
        heard: list[Any] = []
        done = client(lambda c: c.videos.wait("video_1", on_event=heard.append))
        assert done.status == "completed"
        assert [event.kind for event in heard] == ["stage", "step"]
        assert len(client.slept) == 1

    def test_a_wait_that_is_over_before_the_video_says_so(self, client: Client) -> None:
        client.answer = Server([video(status="in_progress")])
        with pytest.raises(module.Timeout, match="in_progress"):
            client(lambda c: c.videos.wait("video_1", timeout=0.01))

    def test_a_campaign_is_waited_for_until_it_ends_or_asks(self, client: Client) -> None:
        running, asking = campaign(), campaign(state="awaiting_approval", plan_token="t")
        state = ("4.0", "state", {"state": "awaiting_approval"})
        client.answer = Server([running, asking], stream(("3.1", "counts", {"counts": COUNTS}), state))
        seen: list[str] = []
        left = client(lambda c: c.campaigns.wait("campaign_1", on_change=lambda each: seen.append(each.state)))
        assert (left.needs_approval, left.ended, seen) == (True, False, ["running", "awaiting_approval"])
        client.answer = Server([running, running, campaign(state="completed")], stream(state), stream(state))
        client.asked.clear()
        assert client(lambda c: c.campaigns.wait("campaign_1")).ended
        followed = [request for request in client.asked if request.url.path.endswith("/events")]
        assert [request.headers.get("last-event-id") for request in followed] == [None, "4.0"]
