"""What was measured at full size, the goals it is held against, and both as lines and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.engine.flops import REFERENCE_TFLOPS

PLAIN = "plain"  # diffusers' own `__call__`, among the profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One model on one profile, at its native size.

    `steps` of `of_steps` were rendered, the others counted with their median; `begin_s` encodes a prompt no cache has
    seen. `tflops` counts the arithmetic of a step that computes everything, as each step of `video_s` does; `cached_s`
    guesses what the profile's step cache would leave of it, which random weights cannot tell. `between_s` is how long
    the device had nothing to do for each render of a queue. None is not measured.
    """

    model: str
    profile: str
    shape: str
    steps: int
    of_steps: int
    prepare_s: float
    begin_s: float
    step_s: float
    decode_s: float
    decoding: str
    video_s: float
    floor_s: float
    tflops: float
    peak_gib: float | None = None
    cached_s: float | None = None
    between_s: float | None = None
    facts: Mapping[str, str]

    def __str__(self) -> str:
        floor = f"{self.floor_s:.1f} s at {REFERENCE_TFLOPS:.0f} TFLOP/s"
        shown = [
            f"{self.video_s:.1f} s/video" + ("" if self.steps == self.of_steps else f" (from {self.steps} steps)"),
            f"{self.step_s:.3f} s/step",
            f"{self.tflops:.0f} TFLOP/s",
            f"{self.floor_s / self.video_s:.0%} of the floor of {floor}",
            "peak not measured" if self.peak_gib is None else f"peak {self.peak_gib:.1f} GiB",
            f"begin {self.begin_s:.2f} s, decode {self.decode_s:.2f} s ({self.decoding})",
            f"ready after {self.prepare_s:.0f} s",
        ]
        if self.cached_s is not None:
            shown.append(f"{self.cached_s:.1f} s/video if the step cache saves what the catalogue guesses")
        if self.between_s is not None:
            shown.append(f"idle {self.between_s * 1e3:.1f} ms a render, {self.between_s / self.video_s:.2%}")
        facts = ", ".join(f"{name} {fact}" for name, fact in self.facts.items())
        return f"{self.model} {self.profile} {self.shape} [{facts}]: {'; '.join(shown)}"


Found = Mapping[tuple[str, str], Measurement]
"""Measurements by model and profile."""

Judge = Callable[[Found], "tuple[float, bool] | None"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A sentence, and what of the measurements decides it: figure and limit, or None as long as one is missing."""

    text: str
    judge: Judge

    def verdict(self, found: Found) -> str:
        try:
            judged = self.judge(found)
        except KeyError:
            judged = None
        if judged is None:
            return "not measured"
        figure, met = judged
        return f"{'met' if met else 'missed'} ({figure:.3g})"


def _at_most(limit: float, model: str, profile: str, figure: Callable[[Measurement], float | None]) -> Judge:
    def judge(found: Found) -> tuple[float, bool] | None:
        value = figure(found[model, profile])
        return None if value is None else (value, value <= limit)

    return judge


def _faster(least: float, model: str) -> Judge:
    def judge(found: Found) -> tuple[float, bool]:
        ratio = found[model, PLAIN].video_s / found[model, "exact"].video_s
        return ratio, ratio >= least

    return judge


def _idle(one: Measurement) -> float | None:
    return None if one.between_s is None else one.between_s / one.video_s


GOALS = (
    Goal("cogvideox-5b, exact: at most 60 s a video", _at_most(60, "cogvideox-5b", "exact", lambda one: one.video_s)),
    Goal("cogvideox-5b, exact: at least 1.4 times as fast as plain diffusers", _faster(1.4, "cogvideox-5b")),
    Goal(
        "cogvideox-5b, fast: at most 30 s a video, with the guessed savings of the step cache",
        _at_most(30, "cogvideox-5b", "fast", lambda one: one.cached_s),
    ),
    Goal("cogvideox-5b, exact: idle between renders under 1%", _at_most(0.01, "cogvideox-5b", "exact", _idle)),
    Goal(
        "cogvideox-1.5-5b, exact: within 80 GB without offload",
        _at_most(
            80e9 / 2**30,
            "cogvideox-1.5-5b",
            "exact",
            lambda one: one.peak_gib if one.decoding != "offloaded" else float("inf"),
        ),
    ),
    Goal(
        "cogvideox-1.5-5b, exact: at most 300 s a video",
        _at_most(300, "cogvideox-1.5-5b", "exact", lambda one: one.video_s),
    ),
)


def verdicts(found: Found) -> list[tuple[str, str]]:
    """Each goal, and whether it is met."""
    return [(goal.text, goal.verdict(found)) for goal in GOALS]


def write(path: Path, environment: Mapping[str, str], found: Found, loop: Sequence[Mapping[str, Any]]) -> None:
    """All of it as one JSON document; replaces `path` after every measurement, so that a lost machine costs one."""
    document = {
        "environment": environment,
        "loop": list(loop),
        "full_size": [asdict(one) for one in found.values()],
        "goals": dict(verdicts(found)),
    }
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text(json.dumps(document, indent=1))
    scratch.replace(path)
