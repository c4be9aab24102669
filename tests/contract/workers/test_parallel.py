"""Several ranks make one render: what they make is what one rank makes, but for rounding, and no state is left over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from numpy.typing import NDArray
from torch import distributed

from orchestrator.config import PoolSettings, S3Settings
from orchestrator.domain.catalog import Profile, Recipe
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import RenderSpec
from orchestrator.ports import WorkerPlan
from tests.support.builders import a_spec
from tests.support.models import Checkpoint, a_picture, a_tiny_spec, denoise
from tests.support.ranks import Rank, lead, led, processes, recruit
from tests.support.sockets import free_port
from workers.architectures import cogvideox
from workers.cogvideox import attention
from workers.cogvideox.model import CogVideoX
from workers.cogvideox.render import Render
from workers.parallel.follower import follow
from workers.parallel.group import WAIT_S, Group
from workers.parallel.meeting import Meeting
from workers.parallel.mesh import Mesh, Seat
from workers.parallel.share import Share

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ranks() -> Iterator[list[Rank]]:
    with processes(4) as started:
        yield started


@pytest.fixture
def plan(tiny_checkpoint: Checkpoint, request: pytest.FixtureRequest, tmp_path: Path) -> WorkerPlan:
    """Of a worker on one GPU, for the family that the test names or for the smallest."""
    family = getattr(request, "param", "tiny-2b")
    return WorkerPlan(
        name="large-0",
        pool="large",
        model=family,
        family=family,
        source=str(tiny_checkpoint(family)),
        cache=tmp_path,
        settings=PoolSettings(model=family),
        s3=S3Settings(),
    )


def on(gpus: int, plan: WorkerPlan) -> WorkerPlan:
    return replace(plan, settings=plan.settings.model_copy(update={"gpus_per_worker": gpus}))


# What the ranks do, each in its process.


def dictate(mesh: Mesh) -> None:
    """Divide renders like this from now on."""
    mock.patch.object(Mesh, "of", return_value=mesh).start()


def approximate() -> None:
    """Let `fast` skip a good part of the steps, of which the real threshold would skip none in so few."""
    recipes = {Profile.FAST: Recipe(cache_threshold=0.5)}
    mock.patch.dict("orchestrator.domain.catalog.RECIPES", recipes).start()


def a_leader(plan: WorkerPlan, wait_s: float = WAIT_S, *, across: bool = False) -> CogVideoX:
    """The plan's model, as the leader of as many ranks as it has GPUs."""
    torch.set_num_threads(1)

    def meet(device: torch.device) -> Group:
        meeting = Meeting.across_nodes("127.0.0.1") if across else Meeting.on_one_node(plan.cache)
        return Group.led(plan.gpus, device, meeting, recruit, wait_s=wait_s)

    return cogvideox(plan, CPU, meet if plan.gpus > 1 else None)


def begun(model: CogVideoX, spec: RenderSpec) -> Render:
    return model.begin(spec, a_picture(spec.model, width=spec.width, height=spec.height))


def make(plan: WorkerPlan, specs: list[RenderSpec]) -> list[dict[str, Any]]:
    """Make these renders, taking turns step by step; what came of each."""
    model = a_leader(plan)
    renders = [begun(model, spec) for spec in specs]
    while pending := [render for render in renders if not render.done]:
        for render in pending:
            assert model.step([render]) == [None]
    results = []
    for render in renders:
        cache = model._acceleration.cache(render)
        skipped = set() if cache is None else cache.skipped
        results.append({"latents": render.latents.numpy(), "frames": model.decode(render), "skipped": skipped})
        model.drop(render)
    leave(plan)
    return results


def make_in_two_goes(plan: WorkerPlan, spec: RenderSpec) -> list[tuple[NDArray[np.float32], str]]:
    """A render undisturbed, and the same render restored from a snapshot of another; with their fingerprints."""
    model = a_leader(plan, across=True)
    undisturbed = denoise(model, begun(model, spec))
    halfway = denoise(model, begun(model, spec), until=2)
    snapshot = model.snapshot(halfway)
    model.drop(halfway)
    restored = denoise(model, model.restore(spec, snapshot))
    leave(plan)
    return [(undisturbed.latents.numpy(), model.numerics(spec)), (restored.latents.numpy(), snapshot.numerics)]


def leave(plan: WorkerPlan) -> None:
    if plan.gpus > 1:
        distributed.destroy_process_group()


def step_for_ever(plan: WorkerPlan, wait_s: float) -> None:
    model = a_leader(plan, wait_s)
    render = begun(model, a_spec(model=plan.model, num_inference_steps=1))
    recruit("stepping")
    while True:
        render.step = 0
        model.step([render])


def share_odd_shapes(rank: int, port: int) -> list[float]:
    """The largest differences that four shards make where the tokens cannot be shared evenly."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=4)
    world = distributed.new_group()
    everyone, alone = Seat(world, rank, 4), Seat(world, 0, 1)
    differences = []
    for frames, rotary in ((1, True), (3, False), (3, True)):
        torch.manual_seed(0)
        transformer = a_transformer(rotary)
        tokens = frames * 15
        inputs: dict[str, Any] = {
            "hidden_states": torch.randn(2, frames, 4, 6, 10),
            "encoder_hidden_states": torch.randn(2, 7, 32),
            "timestep": torch.tensor([500, 500]),
            "image_rotary_emb": (torch.randn(tokens, 8), torch.randn(tokens, 8)) if rotary else None,
            "ofs": None,
        }
        with torch.inference_mode():
            expected = Share(transformer, alone, alone)(**inputs)
            found = Share(transformer, alone, everyone)(**inputs)
        differences.append(float((found - expected).abs().max()))
    distributed.destroy_process_group()
    return differences


def a_transformer(rotary: bool) -> CogVideoXTransformer3DModel:
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=32,
        num_layers=2,
        max_text_seq_length=7,
        use_rotary_positional_embeddings=rotary,
    ).eval()
    attention.install(transformer, attention.Dispatched(attention.NATIVE))
    return transformer


# The promises.


@pytest.mark.parametrize("mesh", [Mesh(2, 1), Mesh(1, 2), Mesh(2, 2)], ids=str)
@pytest.mark.parametrize("plan", ["tiny-2b", "tiny-5b", "tiny-1.5-5b-i2v"], indirect=True)
def test_ranks_make_what_one_rank_makes(ranks: list[Rank], plan: WorkerPlan, mesh: Mesh) -> None:
    guided = a_tiny_spec(plan.family, num_inference_steps=3)
    specs = [guided, replace(guided, guidance_scale=1.0, num_inference_steps=2, seed=8)]
    together = dictated(mesh, ranks, plan, make, specs)
    ranks[0].tell(make, plan, specs)
    for found, expected in zip(together, ranks[0].result(), strict=True):
        assert np.allclose(found["latents"], expected["latents"], rtol=1e-3, atol=1e-4)
        assert np.abs(found["frames"].astype(int) - expected["frames"]).max() <= 1


def dictated(mesh: Mesh, ranks: list[Rank], plan: WorkerPlan, job: Callable[..., Any], *arguments: Any) -> Any:
    for rank in ranks:
        rank.tell(dictate, mesh)
        rank.result()
    count = mesh.guidance * mesh.sequence
    return led(ranks[:count], on(count, plan), job, *arguments)


def test_tokens_need_not_divide_by_the_ranks(ranks: list[Rank]) -> None:
    port = free_port()
    for number, rank in enumerate(ranks):
        rank.tell(share_odd_shapes, number, port)
    for rank in ranks:
        assert max(rank.result()) < 1e-5


def test_a_render_restored_by_as_many_ranks_has_the_same_bits(ranks: list[Rank], plan: WorkerPlan) -> None:
    spec = a_tiny_spec(plan.family, num_inference_steps=4)
    (undisturbed, numerics), (restored, same) = dictated(Mesh(2, 1), ranks, plan, make_in_two_goes, spec)
    assert np.array_equal(undisturbed, restored)
    assert numerics == same
    (_, divided_otherwise), _ = dictated(Mesh(1, 2), ranks, plan, make_in_two_goes, spec)
    assert divided_otherwise != numerics


@pytest.mark.parametrize("mesh", [Mesh(1, 2), Mesh(2, 2)], ids=str)
def test_all_ranks_skip_the_same_steps_of_each_render(ranks: list[Rank], plan: WorkerPlan, mesh: Mesh) -> None:
    spec = a_tiny_spec(plan.family, num_inference_steps=12, profile=Profile.FAST)
    other = replace(spec, seed=99, profile=Profile.EXACT)
    for rank in ranks:
        rank.tell(approximate)
        rank.result()
    one, _, two = dictated(mesh, ranks, plan, make, [spec, other, replace(spec, num_inference_steps=6)])
    (alone,) = dictated(mesh, ranks, plan, make, [spec])
    assert one["skipped"]
    assert two["skipped"] != one["skipped"] == alone["skipped"]
    assert np.array_equal(one["latents"], alone["latents"])


def test_what_hinders_a_follower_its_leader_says(ranks: list[Rank], plan: WorkerPlan, tmp_path: Path) -> None:
    leader, follower = ranks[:2]
    leader.tell(make, on(2, plan), [])
    address = leader.result()
    follower.tell(follow, replace(on(2, plan), source=str(tmp_path / "nowhere")), 1, address)
    assert follower.result() is None
    with pytest.raises(RuntimeError, match=r"ConfigError: rank 1 of 2: .*nowhere"):
        leader.result()
    for rank in (leader, follower):
        rank.tell(distributed.destroy_process_group)
        rank.result()


def test_heads_that_ranks_cannot_share_are_refused_by_name() -> None:
    assert Mesh.of(8, heads=48) == Mesh(2, 4)
    assert Mesh.of(3, heads=30) == Mesh(1, 3)
    with pytest.raises(ConfigError, match="gpus_per_worker 8: 4 ranks cannot share 30 attention heads evenly"):
        Mesh.of(8, heads=30)


def test_a_rank_that_dies_or_hangs_ends_the_others(ranks: list[Rank], plan: WorkerPlan) -> None:
    # The last test here: none of these ranks lives on.
    first, second = ranks[:2], ranks[2:]
    for group, signal_number in ((first, signal.SIGKILL), (second, signal.SIGSTOP)):
        lead(group, on(2, plan), step_for_ever, 3.0)
        assert group[0].result() == "stepping"
        os.kill(group[1].pid, signal_number)
    assert first[0].ended(within_s=30)
    assert second[0].ended(within_s=30)
