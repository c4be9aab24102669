"""What our step loop costs beside plain diffusers, and how long the GPU idles between two renders.

    python -m tests.benchmarks.engine            the tiny models on one CPU thread, and full size where there is a GPU
    python -m tests.benchmarks.engine --rounds 3

Both sides of a ratio run in one process, in turns; the ratio is the median over the rounds. On the CPU it compares
CPU seconds of one thread, which other processes disturb less than they do the wall clock. The gap is between the end of
one render's decode and the begin of the next, which waits, on a real actor whose videos go to a real S3.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import structlog
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from PIL import Image
from transformers import T5Config, T5EncoderModel

from orchestrator.adapters.s3 import S3Objects
from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.job import Artifact, RenderSpec
from orchestrator.domain.protocol import Rendered
from orchestrator.ports import WorkerPlan
from tests.support.builders import a_spec
from tests.support.s3 import S3Server
from tests.support.workers import CALLER, a_plan, an_actor, assigned, until
from workers import assembly, cogvideox, tiny
from workers.engine import Parts
from workers.render import Render

KINDS = {False: CogVideoXPipeline, True: CogVideoXImageToVideoPipeline}
SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=9, help="how often each side of a ratio runs")
    arguments.add_argument("--renders", type=int, default=12, help="renders in a row for the gap")
    options = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {psutil.cpu_count()} cores, one thread")
    with tempfile.TemporaryDirectory() as directory:
        for name in ("tiny-2b", "tiny-5b", "tiny-5b-i2v"):
            path = tiny.make(FAMILIES[name], Path(directory))
            for num_frames in sorted({FAMILIES[name].min_frames, FAMILIES[name].max_frames}):
                spec = a_spec(model=name, num_frames=num_frames, num_inference_steps=20)
                report_ratio(path, FAMILIES[name], spec, options.rounds)
            asyncio.run(report_gap(path, FAMILIES[name], options.renders))
    for name in ("cogvideox-2b", "cogvideox-5b", "cogvideox-5b-i2v"):
        report_full_size(FAMILIES[name], options.rounds)


def report_ratio(path: Path, family: ModelFamily, spec: RenderSpec, rounds: int) -> None:
    device, dtype = torch.device("cpu"), torch.float32
    model = cogvideox.load(path, family, device, dtype)
    plain = KINDS[family.image_to_video].from_pretrained(path)
    plain.scheduler = SCHEDULERS[family.scheduler].from_config(plain.scheduler.config, timestep_spacing="trailing")
    plain.set_progress_bar_config(disable=True)
    found = compare(
        lambda seed: render(model, family, spec, seed),
        lambda seed: call(plain, family, spec, seed),
        rounds,
        time.process_time,
    )
    what = f"{family.name} {spec.width}x{spec.height}, {spec.num_frames} frames, {spec.num_inference_steps} steps"
    print(f"{what}: {found}")


def render(model: cogvideox.CogVideoX, family: ModelFamily, spec: RenderSpec, seed: int) -> None:
    state = model.begin(replace(spec, seed=seed), a_picture(family, spec))
    while not state.done:
        model.step(state)
    model.decode(state)


def a_picture(family: ModelFamily, spec: RenderSpec) -> np.ndarray | None:
    """What an image-to-video render begins at; None for one that takes no picture."""
    gradient = Image.linear_gradient("L").convert("RGB").resize((spec.width, spec.height))
    return np.asarray(gradient) if family.image_to_video else None


def call(plain: cogvideox.Pipeline, family: ModelFamily, spec: RenderSpec, seed: int) -> None:
    picture = a_picture(family, spec)
    plain(
        **({} if picture is None else {"image": Image.fromarray(picture)}),
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        height=spec.height,
        width=spec.width,
        num_frames=spec.num_frames,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        use_dynamic_cfg=family.dynamic_cfg,
        generator=torch.Generator().manual_seed(seed),
        output_type="pil",
    )


@dataclass(frozen=True)
class Comparison:
    """Median seconds of either side, and the median of the rounds' ratios."""

    ours: float
    theirs: float
    ratio: float

    def __str__(self) -> str:
        return f"ours {self.ours:.3f} s, diffusers {self.theirs:.3f} s, ratio {self.ratio:.3f}"


def compare(
    ours: Callable[[int], None], theirs: Callable[[int], None], rounds: int, clock: Callable[[], float]
) -> Comparison:
    """One round to warm up, then `rounds`; who goes first alternates."""
    seconds: dict[Callable[[int], None], list[float]] = {ours: [], theirs: []}
    for seed in range(rounds + 1):
        for side in (ours, theirs) if seed % 2 else (theirs, ours):
            started = clock()
            side(seed)
            seconds[side].append(clock() - started)
    pairs = list(zip(seconds[ours], seconds[theirs], strict=True))[1:]
    return Comparison(
        ours=statistics.median(ours_s for ours_s, _ in pairs),
        theirs=statistics.median(theirs_s for _, theirs_s in pairs),
        ratio=statistics.median(ours_s / theirs_s for ours_s, theirs_s in pairs),
    )


class Timed:
    """A model that notes when each render begins and when its frames are there."""

    def __init__(self, model: cogvideox.CogVideoX) -> None:
        self._model = model
        self.step = model.step
        self.preview = model.preview
        self.recover = model.recover
        self.begun: list[float] = []
        self.decoded: list[float] = []

    def begin(self, spec: RenderSpec, picture: np.ndarray | None) -> Render:
        self.begun.append(time.perf_counter())
        return self._model.begin(spec, picture)

    def decode(self, state: Render) -> np.ndarray:
        frames = self._model.decode(state)
        self.decoded.append(time.perf_counter())
        return frames


async def report_gap(path: Path, family: ModelFamily, renders: int) -> None:
    server = S3Server.create()
    try:
        settings = server.new_bucket()
        objects = S3Objects(settings)
        timed = Timed(cogvideox.load(path, family, torch.device("cpu"), torch.float32))

        def assemble(plan: WorkerPlan, scratch: Path) -> Parts[Any]:
            return replace(assembly.assemble(plan, scratch), model=timed)

        image = put_picture(objects, family)
        num_frames = max(17, family.min_frames)
        with an_actor(a_plan(family.name, path, settings), assemble) as actor:
            for seed in range(renders):
                await until(actor, lambda status: status.room > 0)
                await assigned(actor, num_frames=num_frames, num_inference_steps=20, seed=seed, image=image)
            status = await until(actor, lambda status: all(render.end for render in status.renders))
            assert all(isinstance(render.end, Rendered) for render in status.renders)
            for render in status.renders:
                await actor.forget(CALLER, render.token)
    finally:
        server.remove()
    gaps = [begun - decoded for decoded, begun in zip(timed.decoded[:-1], timed.begun[1:], strict=True)]
    print(f"{family.name}: gap between {renders} renders in a row, one waiting (goal: under 50 ms):", end=" ")
    print(f"median {statistics.median(gaps) * 1e3:.2f} ms, longest {max(gaps) * 1e3:.2f} ms")


def put_picture(objects: S3Objects, family: ModelFamily) -> Artifact | None:
    """The object that image-to-video renders begin at."""
    picture = a_picture(family, a_spec())
    if picture is None:
        return None
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return objects.put("inputs/picture", file.getvalue(), "image/png")


def report_full_size(family: ModelFamily, rounds: int) -> None:
    """One native render with random weights. Five steps stand for all of them: every step costs the same."""
    if not torch.cuda.is_available():
        print(f"{family.name} at full size: not measured, no GPU at hand")
        return
    device, dtype = cogvideox.numerics(family)
    plain = full_size(family, device, dtype)
    width, height = family.default_size
    spec = a_spec(width=width, height=height, num_frames=family.max_frames, num_inference_steps=5)
    model = cogvideox.CogVideoX(plain, family, device)
    found = compare(
        lambda seed: render(model, family, spec, seed),
        lambda seed: call(plain, family, spec, seed),
        rounds,
        time.perf_counter,
    )
    peak = torch.cuda.max_memory_allocated() / 2**30
    where = f"{torch.cuda.get_device_name()}, {dtype}, {width}x{height}x{spec.num_frames}, 5 steps"
    print(f"{family.name} on {where}: {found}, peak {peak:.1f} GiB")
    print(f"  of ours: {' '.join(f'{name} {seconds:.3f} s' for name, seconds in stages(model, family, spec).items())}")


def stages(model: cogvideox.CogVideoX, family: ModelFamily, spec: RenderSpec) -> dict[str, float]:
    picture = a_picture(family, spec)
    marks = [time.perf_counter()]
    state = model.begin(replace(spec, prompt="a prompt that no cache has seen"), picture)
    torch.cuda.synchronize()
    marks.append(time.perf_counter())
    while not state.done:
        model.step(state)
    marks.append(time.perf_counter())
    model.preview(state)
    marks.append(time.perf_counter())
    model.decode(state)
    marks.append(time.perf_counter())
    begin, denoise, preview, decode = (after - before for before, after in itertools.pairwise(marks))
    return {"begin": begin, "step": denoise / spec.num_inference_steps, "preview": preview, "decode": decode}


def full_size(family: ModelFamily, device: torch.device, dtype: torch.dtype) -> cogvideox.Pipeline:
    """The real architecture with random weights, made on the device. Sizes are those of the published configs."""
    rotary = family.scheduler == "dpm"
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            transformer = CogVideoXTransformer3DModel(
                num_attention_heads=48 if rotary else 30,
                num_layers=42 if rotary else 30,
                in_channels=32 if family.image_to_video else 16,
                use_rotary_positional_embeddings=rotary,
                use_learned_positional_embeddings=family.image_to_video,
            )
            vae = AutoencoderKLCogVideoX(
                block_out_channels=(128, 256, 256, 512),
                down_block_types=("CogVideoXDownBlock3D",) * 4,
                up_block_types=("CogVideoXUpBlock3D",) * 4,
                layers_per_block=3,
                latent_channels=16,
                scaling_factor=0.7 if rotary else 1.15258426,
            )
            text_encoder = T5EncoderModel(
                T5Config(
                    vocab_size=32128,
                    d_model=4096,
                    d_kv=64,
                    d_ff=10240,
                    num_layers=24,
                    num_heads=64,
                    feed_forward_proj="gated-gelu",
                    is_encoder_decoder=False,
                    use_cache=False,
                )
            )
    finally:
        torch.set_default_dtype(before)
    scheduler = SCHEDULERS[family.scheduler](
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0 if rotary else 3.0,
        timestep_spacing="trailing",
    )
    modules = [module.to(dtype).eval().requires_grad_(False) for module in (transformer, vae, text_encoder)]
    plain = KINDS[family.image_to_video](
        tokenizer=tiny.tokenizer(family),
        text_encoder=modules[2],
        vae=modules[1],
        transformer=modules[0],
        scheduler=scheduler,
    )
    plain.set_progress_bar_config(disable=True)
    return plain


if __name__ == "__main__":
    main()
