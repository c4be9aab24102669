"""What a trace's headers may say, when tracing is on, and what it takes where it is off."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest
from pydantic import ValidationError

from orchestrator.config import LogSettings, TracingSettings
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.timeline import MOST_PERIODS, Timeline, extended, shifted
from orchestrator.domain.trace import MOST_STATE_CHARS, TraceContext, of_headers, of_row, trace_id_of
from orchestrator.telemetry import logs, tracing
from tests.support.builders import a_claim

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
CONTEXT = TraceContext(TRACE, SPAN, True)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


# ---------------------------------------------------------------- W3C Trace Context


def test_a_well_formed_parent_is_read_and_written_again() -> None:
    assert of_headers([PARENT]) == CONTEXT
    assert CONTEXT.headers == {"traceparent": PARENT}
    assert of_headers([f"00-{TRACE}-{SPAN}-00"]) == TraceContext(TRACE, SPAN, False)
    assert of_headers([f"  {PARENT}\t"]) == CONTEXT


@pytest.mark.parametrize(
    "parent",
    [
        "", "00", PARENT.upper(), f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}-more", f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}-{SPAN}-0", f"01-{TRACE}-{SPAN}-01more",
        f"{PARENT}\n", f"00-{TRACE}-{SPAN}-0g", PARENT.replace("4", "٤", 1),
    ],
)  # fmt: skip
def test_what_is_not_well_formed_is_as_no_trace(parent: str) -> None:
    assert of_headers([parent]) is None


def test_several_parents_are_none_and_later_versions_may_say_more() -> None:
    assert of_headers([PARENT, PARENT]) is None
    assert of_headers([]) is None
    assert of_headers([f"cc-{TRACE}-{SPAN}-03-what-comes-later"]) == CONTEXT


def test_states_are_joined_and_one_that_is_malformed_costs_all_of_them() -> None:
    assert of_headers([PARENT], ["a=1, b=2", "t@v=3"]) == TraceContext(TRACE, SPAN, True, "a=1,b=2,t@v=3")
    for bad in ("a", "a=1,a=2", "A=1", "a=ü", "a=1,,b=\x00", ",".join(f"k{n}=1" for n in range(33))):
        assert of_headers([PARENT], [bad]) == CONTEXT, bad


def test_a_state_is_bounded_and_what_is_large_goes_first() -> None:
    large = f"large={'x' * 200}"
    many = [f"k{n}={'y' * 30}" for n in range(20)]
    found = of_headers([PARENT], [large, ",".join(many)])
    assert found is not None
    assert len(found.state) <= MOST_STATE_CHARS
    assert found.state.split(",") == many[: len(found.state.split(","))]
    assert len(found.state) + 1 + len(many[14]) > MOST_STATE_CHARS


@pytest.mark.parametrize("context", [CONTEXT, TraceContext(TRACE, SPAN, False, "a=1,b=x y")])
def test_a_row_keeps_a_context_as_it_is(context: TraceContext) -> None:
    assert of_row(context.kept) == context
    assert trace_id_of(context.kept) == TRACE
    assert of_row(None) is None
    assert trace_id_of(None) is None


# ---------------------------------------------------------------- timelines


def test_a_timeline_is_bounded_and_its_last_period_reaches_the_end() -> None:
    periods: Timeline = ()
    for number in range(3 * MOST_PERIODS):
        periods = extended(periods, ("denoising", "preempted")[number % 2], float(number), 1.0)
    assert len(periods) == MOST_PERIODS
    assert periods[-1] == ("preempted", MOST_PERIODS - 1.0, 2.0 * MOST_PERIODS + 1.0)


def test_a_stage_that_is_entered_again_at_once_is_one_period_and_after_a_wait_it_is_another() -> None:
    periods = extended(extended((), "finishing", 1.0, 1.0), "finishing", 2.0, 0.5)
    assert periods == (("finishing", 1.0, 1.5),)
    assert extended(periods, "finishing", 3.0, 1.0) == (("finishing", 1.0, 1.5), ("finishing", 3.0, 1.0))


def test_a_shifted_timeline_begins_no_sooner_than_what_it_is_counted_from() -> None:
    assert shifted([("encoding", 0.5, 1.0), ("denoising", 1.5, 2.0)], -1.0) == (
        ("encoding", 0.0, 1.0),
        ("denoising", 0.5, 2.0),
    )


# ---------------------------------------------------------------- settings


def test_tracing_is_off_until_an_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not TracingSettings().on
    ours = TracingSettings(endpoint="http://collector:4318")
    assert (ours.on, ours.traces_url) == (True, "http://collector:4318/v1/traces")
    assert TracingSettings(endpoint="https://otlp.example.com/otlp/").traces_url == (
        "https://otlp.example.com/otlp/v1/traces"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere:4318")
    assert TracingSettings().on
    assert TracingSettings().traces_url is None  # OpenTelemetry reads it
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not ours.on


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint", "collector:4318"), ("endpoint", "grpc://collector:4317"), ("endpoint", "http://u:p@collector"),
        ("endpoint", "http://collector:99999"), ("headers", "authorization"), ("headers", "a=b,=c"),
        ("headers", "a=b\nc"), ("ratio", 1.5), ("ratio", -0.1),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_meant_is_refused_by_its_name(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        TracingSettings.model_validate({key: value})
    assert refused.value.errors()[0]["loc"] == (key,)


def test_headers_are_read_and_are_no_part_of_what_is_shown() -> None:
    settings = TracingSettings.model_validate({"headers": "Authorization=Bearer x=y, x-scope = videos"})
    assert settings.header_fields == {"authorization": "Bearer x=y", "x-scope": "videos"}
    assert "Bearer" not in repr(settings)


def test_without_the_extra_it_says_which_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name.startswith("opentelemetry") else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    settings = TracingSettings(endpoint="http://collector:4318")
    with (
        pytest.raises(ConfigError, match=r"tracing\.endpoint.*pip install 'cogmill\[tracing\]'"),
        tracing.running(settings, "api"),
    ):
        pass
    with tracing.running(TracingSettings(), "api"):
        assert not tracing.active()


def test_off_imports_no_part_of_the_extra() -> None:
    """FastAPI imports OpenTelemetry's interface where Ray has brought it."""
    program = (
        "import sys, api.serving, orchestrator.processes.maintaining, orchestrator.processes.dispatching;"
        "extra = ('opentelemetry.sdk', 'opentelemetry.exporter', 'orchestrator.telemetry.otlp');"
        "sys.exit(str([name for name in sys.modules if name.startswith(extra)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == "[]\n"


# ---------------------------------------------------------------- off, and in logs


def test_off_a_callers_trace_is_passed_on_and_nothing_else_is() -> None:
    with tracing.span("request") as span:
        assert (span.context, tracing.kept()) == (None, None)
    with tracing.span("request", parent=CONTEXT) as span:
        assert span.context == CONTEXT
        with tracing.span("below", {"cogmill.job": "x"}) as inner:
            inner.say({"cogmill.state": "queued"})
            assert inner.context == tracing.current() == CONTEXT
        with tracing.span("row", root=True, links=[CONTEXT]):
            assert tracing.kept() == PARENT
    assert tracing.current() is None


def test_log_lines_say_where_in_a_trace_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger().level, logging.getLogger().handlers[:]
    try:
        logs.configure(LogSettings())
        with tracing.span("request", parent=CONTEXT):
            logs.get("tests").info("in_it")
            logs.get("tests").info("of_a_claim", **logs.fields(a_claim(trace=f"00-{'a' * 32}-{SPAN}-01")))
            logging.getLogger("a.library").warning("of a library")
        logs.get("tests").info("outside")
    finally:
        logging.getLogger().setLevel(level[0])
        logging.getLogger().handlers[:] = level[1]
    inside, claim, library, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert (inside["trace_id"], inside["span_id"]) == (TRACE, SPAN)
    assert (claim["trace_id"], "span_id" in claim) == ("a" * 32, False)
    assert library["trace_id"] == TRACE
    assert "trace_id" not in outside
