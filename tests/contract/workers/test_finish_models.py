"""Models of the operator's in finishing: one that finds the frame between two, one that enlarges."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.config import FinishSettings
from orchestrator.domain.errors import ConfigError
from tests.support.finishing import CPU, an_assignment_of, finish, pictures
from tests.support.frames import moving
from workers.finish import Finisher
from workers.finish.interpolate import ByModel
from workers.finish.provenance import Seal
from workers.finish.upscale import Upscaler


class Mix(torch.nn.Module):
    """Between two frames: their mixture, reddened so that it is known from a rendered one."""

    def forward(self, frame0: torch.Tensor, frame1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        mixed = frame0 * (1 - t) + frame1 * t
        return torch.cat((torch.ones_like(mixed[:, :1]), mixed[:, 1:]), dim=1)


class Blur:
    """Enlarges three times, and looks at 8 pixels around each: less than what tiles overlap."""

    scale = 3

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        self.seen.append((picture.shape[2], picture.shape[3]))
        blurred = torch.nn.functional.avg_pool2d(picture, 17, 1, 8, count_include_pad=False)
        return torch.nn.functional.interpolate(blurred, scale_factor=3, mode="nearest")


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    path = tmp_path / "mix.pt"
    torch.jit.script(Mix()).save(path)
    return path


def test_a_torchscript_model_makes_the_frames_in_between(mix: Path, tmp_path: Path) -> None:
    frames = np.zeros((9, 64, 96, 3), np.uint8)
    frames[:] = (np.arange(9, dtype=np.uint8) * 20)[:, None, None, None]
    finisher = Finisher.load(FinishSettings(interpolator=mix), CPU)
    shown = pictures(finish(frames, tmp_path, by=finisher, fps=32, num_frames=34).video)[:, 32, 48].astype(int)
    assert len(shown) == 34
    rendered = shown[::4]
    assert np.abs(rendered - frames[:, 32, 48]).max() <= 3, "rendered frames are themselves"
    for index in (1, 2, 3, 13):
        red, green, blue = shown[index]
        assert red > 245
        assert abs(green - index * 5) <= 5
        assert abs(blue - index * 5) <= 5
    assert np.abs(shown[33] - 160).max() <= 3, "after the last rendered frame it stays"


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_a_file_that_is_no_model_keeps_the_worker_from_starting(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ConfigError, match=r"finish\.interpolator: .*model"):
        Finisher.load(FinishSettings(interpolator=tmp_path / "model"), CPU)
    with pytest.raises(ConfigError, match=r"finish\.interpolator: .*nowhere"):
        Finisher.load(FinishSettings(interpolator=tmp_path / "nowhere"), CPU)


def test_an_upscaler_without_spandrel_keeps_the_worker_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ConfigError, match=r"finish\.upscaler: needs spandrel \(the extra `upscale`\)"):
        Finisher.load(FinishSettings(upscaler=tmp_path / "model.pth"), CPU)


def test_a_large_picture_is_enlarged_in_tiles_that_leave_no_seams() -> None:
    frame = moving(1, 120, 200)[0]
    whole, tiled = Blur(), Blur()
    expected = Upscaler(whole, CPU)(frame)
    assert expected.shape == (360, 600, 3)
    assert np.abs(Upscaler(tiled, CPU, tile=64)(frame).astype(int) - expected).max() <= 1
    assert len(tiled.seen) == 8
    assert max(max(size) for size in tiled.seen) <= 64 + 2 * 32


def test_the_upscaler_is_asked_only_for_what_has_to_grow(tmp_path: Path) -> None:
    network = Blur()
    finisher = Finisher(Seal.load(FinishSettings()), ByModel(Mix(), CPU), Upscaler(network, CPU))
    frames = moving(2, 64, 96)
    shown = pictures(finish(frames, tmp_path, by=finisher, width=180, height=120).video)
    assert shown.shape == (2, 120, 180, 3)
    assert network.seen == [(64, 96)] * 2, "once a frame, and Lanczos from there"
    network.seen.clear()
    finish(frames, tmp_path, by=finisher, width=48, height=32)
    finish(frames, tmp_path, by=finisher)
    assert network.seen == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_told_and_show_as_black(tmp_path: Path, number: float) -> None:
    """Where the model gave them; the frames that were rendered stay as they are."""
    light = np.full((2, 64, 96, 3), 200, np.uint8)

    def broken(frame0: torch.Tensor, frame1: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.full_like(frame0, number)

    told: list[None] = []
    assignment = an_assignment_of(light, fps=16, num_frames=3)
    finisher = Finisher(Seal.load(FinishSettings()), ByModel(broken, CPU))
    finished = finisher.finish(assignment, light, tmp_path, on_progress=lambda: None, on_bad=lambda: told.append(None))
    assert len(told) == 1
    brightness = pictures(finished.video).mean(axis=(1, 2, 3))
    assert brightness[1] < 5
    assert min(brightness[0], brightness[2]) > 190

    class BrokenNetwork(Blur):
        def __call__(self, picture: torch.Tensor) -> torch.Tensor:
            return super().__call__(picture) * number

    told.clear()
    Upscaler(BrokenNetwork(), CPU, tile=64)(light[0], lambda: told.append(None))
    assert len(told) == 1
