"""Whether a loaded model can make what a spec says at all; if not, no retry and no other worker helps."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import RenderSpec
from workers.cogvideox.positions import Positions

# A latent pixel is 8 pixels square, and a token two latent pixels; a latent frame is four frames, the first one alone.
_SIDE = 16
_FRAMES = 4
# What `torch.Generator.manual_seed` takes.
_SEEDS = (-(2**63), 2**64 - 1)


def require(spec: RenderSpec, positions: Positions, *, most_steps: int) -> None:
    """Raise `RenderFailed` (`impossible_request`, final) for what the model cannot render, saying what it can.

    `most_steps` is how many timesteps its scheduler was trained with.
    """
    for problem in _problems(spec, positions, most_steps):
        raise impossible(problem)


def impossible(why: str) -> RenderFailed:
    """The failure of what no worker with this model can render."""
    return RenderFailed(FailureCode.IMPOSSIBLE_REQUEST, f"this model cannot render it: {why}", retryable=False)


def _problems(spec: RenderSpec, positions: Positions, most_steps: int) -> Iterator[str]:
    size = f"{spec.width}x{spec.height}"
    if min(spec.width, spec.height) < _SIDE or spec.width % _SIDE or spec.height % _SIDE:
        yield f"sides must be multiples of {_SIDE}, not {size}"
    if spec.num_frames < 1 or spec.num_frames % _FRAMES != 1:
        yield f"frames must be one more than a multiple of {_FRAMES}, not {spec.num_frames}"
    if not positions.has((spec.width, spec.height), spec.num_frames):
        yield f"the checkpoint has positions for {positions.words}, not for {size} and {spec.num_frames} frames"
    if not 1 <= spec.num_inference_steps <= most_steps:
        yield f"steps must be 1 to {most_steps}, not {spec.num_inference_steps}"
    if not math.isfinite(spec.guidance_scale):
        yield f"guidance must be a finite number, not {spec.guidance_scale}"
    if not math.isfinite(spec.adapter_scale):
        yield f"an adapter's strength must be a finite number, not {spec.adapter_scale}"
    if not _SEEDS[0] <= spec.seed <= _SEEDS[1]:
        yield f"a seed must fit into 64 bits, which {spec.seed} does not"
    for name, text in (("prompt", spec.prompt), ("negative prompt", spec.negative_prompt)):
        try:
            text.encode()
        except UnicodeEncodeError:
            yield f"the {name} is no Unicode text"
