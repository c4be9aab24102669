"""The engine's small parts: estimates, failures, and the directory that survives no owner."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import IntegrityError, ObjectsUnavailable, RenderFailed
from tests.support.builders import a_spec
from workers.cogvideox import tiny
from workers.engine.failures import failure_of
from workers.engine.meter import Meter, Speed
from workers.scratch import Scratch

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (RenderFailed("nan_frames", "not finite"), "nan_frames", True),
        (RenderFailed("too_wide", "never", retryable=False), "too_wide", False),
        (ObjectsUnavailable("S3 is away"), "upload_failed", True),
        (IntegrityError("not what was written"), "upload_failed", True),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", True),
        (OSError(errno.EIO, "Input/output error"), "render_error", True),
        (RuntimeError("shapes do not match"), "render_error", True),
    ],
)
def test_a_failure_has_a_stable_code(error: Exception, code: str, retryable: bool) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.retryable) == (code, retryable)
    assert failure.message


def test_a_long_error_becomes_a_short_sentence() -> None:
    assert len(failure_of(RuntimeError("x" * 10_000)).message) <= 300


def test_a_failure_s_message_is_text_that_the_database_can_hold() -> None:
    message = failure_of(RuntimeError("a\0b\ud800c")).message
    assert message.encode()
    assert "\0" not in message


def test_speed_converges_on_what_moves_really_take() -> None:
    speed = Speed()
    for _ in range(50):
        speed = speed.learn(predicted_s=10, actual_s=25)
    assert speed.factor == pytest.approx(2.5)
    assert speed.learn(predicted_s=0, actual_s=1) == speed


def test_estimates_follow_what_steps_and_decodes_took() -> None:
    meter = Meter(FAMILIES["tiny-2b"])
    spec = a_spec()
    for _ in range(10):
        meter.stepped(spec, 0.5)
    meter.decoded(spec, 2.0)
    assert meter.step_s == pytest.approx(0.5)
    assert meter.remaining_s(spec, steps_left=4, idle_s=0) == pytest.approx(4.0)
    assert meter.remaining_s(spec, steps_left=4, idle_s=0.2) == pytest.approx(3.8), "part of a step is done"
    assert meter.remaining_s(spec, steps_left=4, idle_s=99) == pytest.approx(3.5), "but never more than the step"
    assert meter.remaining_s(spec, steps_left=0, idle_s=99) == 0
    larger = a_spec(width=160, height=96)
    assert meter.remaining_s(larger, steps_left=4, idle_s=0) > 4.0, "a larger render is expected to take longer"


def test_a_scratch_directory_is_gone_after_its_close(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    (scratch.path / "video.mp4").write_bytes(b"x")
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    code = "import sys, os, pathlib; from workers.scratch import Scratch; s = Scratch(pathlib.Path(sys.argv[1]))"
    code += "; (s.path / 'half').write_bytes(b'x'); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=REPOSITORY, check=False)
    assert killed.returncode == -9
    [left] = tmp_path.iterdir()
    mine = Scratch(tmp_path)
    assert not left.exists()
    Scratch(tmp_path).close()
    assert mine.path.exists()
    mine.close()


def test_a_finished_tiny_checkpoint_is_recognised_without_torch(tmp_path: Path) -> None:
    family = FAMILIES["tiny-2b"]
    (tmp_path / f"{family.name}-r{tiny.RECIPE}").mkdir()
    code = "import sys, pathlib; from workers.cogvideox import tiny; from orchestrator.domain.catalog import TINY_2B"
    code += "; print(tiny.make(TINY_2B, pathlib.Path(sys.argv[1])), 'torch' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert said.stdout.split() == [os.fspath(tmp_path / f"{family.name}-r{tiny.RECIPE}"), "False"]


def test_the_actors_module_brings_no_torch_ray_or_codec_along() -> None:
    code = "import sys, workers.actor; print([m for m in ('torch', 'ray', 'av', 'boto3', 'numpy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
