"""What a render takes that a traffic file names: its own seconds, or the catalogue's for model and profile."""

from __future__ import annotations

from orchestrator.domain.catalog import FAMILIES, Profile
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import RenderSpec
from orchestrator.policy import cost
from orchestrator.simulator.fleet import PoolTable
from orchestrator.simulator.jobs import Shape
from orchestrator.simulator.traffic import CampaignTable, StreamTable, TraceTable


def shape_of(table: StreamTable | TraceTable | CampaignTable, pool: PoolTable) -> Shape:
    """Of a family's default video, as a request that says nothing gets it; predicted as the product predicts.

    Lanes are charged its seconds on the GPU alone (`policy/charge.py`): what a family makes by default is finished in
    less time than it renders, and a traffic file names no other delivery.
    """
    model = FAMILIES[pool.family]
    profile = Profile(table.profile)
    steps = table.steps or model.steps_of(profile)
    if table.seconds is not None:
        return Shape(seconds=table.seconds, steps=steps, gpus=pool.gpus_per_worker)
    width, height = model.draft_size(model.native_size) if profile is Profile.DRAFT else model.native_size
    frames = model.default_frames
    spec = RenderSpec(
        model=model.name, prompt="", width=width, height=height, num_frames=frames, fps=model.fps,
        num_inference_steps=steps, guidance_scale=model.default_guidance, seed=0, profile=profile,
        delivery=Delivery(width=width, height=height, num_frames=frames, fps=model.fps),
    )  # fmt: skip
    seconds, decode_s = cost.predict(model, spec), cost.predict_decode_s(model, spec)
    return Shape(seconds=seconds, steps=steps, decode_s=decode_s, gpus=pool.gpus_per_worker)
