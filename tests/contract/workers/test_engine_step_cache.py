"""A step cache belongs to one render: whatever befalls it or others, each has the bits that it has alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import pytest
import torch

from orchestrator.domain.catalog import RECIPES, Profile
from orchestrator.domain.job import RenderSpec
from tests.support.builders import a_spec
from tests.support.models import Checkpoint, a_model
from workers.cogvideox.model import CogVideoX
from workers.cogvideox.render import Render

STEPS = 6
PLACES = ("first block", "last block", "after the transformer")


class Broke(Exception):
    pass


@contextmanager
def breaking(model: CogVideoX, where: str) -> Iterator[None]:
    """Inside, a forward breaks when it has come to the place."""
    transformer = model._pipeline.transformer
    first, *_, last = transformer.transformer_blocks

    def broke(*_: Any) -> None:
        raise Broke

    hook = dict(zip(PLACES, (first, last, transformer), strict=True))[where].register_forward_hook(broke)
    try:
        yield
    finally:
        hook.remove()


# Random weights change from step to step by more than the recipes allow: under these some steps reuse and some do not.
THRESHOLDS = {Profile.FAST: 0.21, Profile.DRAFT: 0.26}


def specs() -> dict[Profile, RenderSpec]:
    """One render of each profile, of different prompts and seeds; of one shape, so that each could take another's."""
    return {
        profile: a_spec(profile=profile, prompt=profile.value, seed=number, num_inference_steps=STEPS)
        for number, profile in enumerate(Profile)
    }


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Checkpoint) -> CogVideoX:
    return a_model(tiny_checkpoint("tiny-2b"), "tiny-2b")


def finish(model: CogVideoX, render: Render) -> torch.Tensor:
    while not render.done:
        assert model.step([render]) == [None]
    model.drop(render)
    return render.latents


@pytest.fixture(scope="module")
def alone(model: CogVideoX) -> Iterator[dict[Profile, torch.Tensor]]:
    """The latents of each, rendered with nothing else about; and the proof that two of them reuse something."""
    with pytest.MonkeyPatch.context() as patch:
        for profile, threshold in THRESHOLDS.items():
            patch.setitem(RECIPES, profile, replace(RECIPES[profile], cache_threshold=threshold))
        latents = {}
        for profile, spec in specs().items():
            render = model.begin(spec, None)
            for _ in range(STEPS):
                model.step([render])
            cache = model._acceleration.cache(render)
            assert (cache is None) is (profile is Profile.EXACT)
            assert cache is None or 0 < len(cache.skipped) < STEPS - 1
            latents[profile] = finish(model, render)
        yield latents


@pytest.mark.parametrize("pair", combinations(Profile, 2), ids=" and ".join)
def test_in_every_order_of_their_steps_two_renders_have_the_bits_that_they_have_alone(
    model: CogVideoX, alone: dict[Profile, torch.Tensor], pair: tuple[Profile, Profile]
) -> None:
    orders = sorted(set(permutations(pair * 3)))
    assert len(orders) == 20
    for order in orders:
        renders = {profile: model.begin(specs()[profile], None) for profile in pair}
        for profile in order:
            model.step([renders[profile]])
        for profile in pair:
            assert torch.equal(finish(model, renders[profile]), alone[profile])


@pytest.mark.parametrize("displaced", Profile)
def test_a_render_that_is_preempted_at_each_step_by_whole_others_has_the_bits_that_it_has_alone(
    model: CogVideoX, alone: dict[Profile, torch.Tensor], displaced: Profile
) -> None:
    render = model.begin(specs()[displaced], None)
    while not render.done:
        for profile in Profile:
            assert torch.equal(finish(model, model.begin(specs()[profile], None)), alone[profile])
        model.step([render])
    assert torch.equal(finish(model, render), alone[displaced])


@pytest.mark.parametrize("at", range(STEPS))
@pytest.mark.parametrize("order", permutations(Profile, 2), ids=lambda order: ", ".join(order))
def test_a_cancelled_or_broken_render_leaves_nothing_behind(
    model: CogVideoX, alone: dict[Profile, torch.Tensor], order: tuple[Profile, Profile], at: int
) -> None:
    """Cancelled between two of its steps, or broken in the midst of one."""
    leaving, staying = order
    for broken in (False, True):
        gone, stays = (model.begin(specs()[profile], None) for profile in (leaving, staying))
        for _ in range(at):
            model.step([gone])
            model.step([stays])
        if broken:
            with breaking(model, "after the transformer"), pytest.raises(Broke):
                model.step([gone])
        model.drop(gone)
        assert torch.equal(finish(model, stays), alone[staying])
        again = model.begin(specs()[leaving], None)
        assert torch.equal(finish(model, again), alone[leaving])
    assert not model._acceleration._caches


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("where", PLACES)
def test_a_step_that_broke_can_be_repeated(
    model: CogVideoX, alone: dict[Profile, torch.Tensor], profile: Profile, where: str
) -> None:
    render = model.begin(specs()[profile], None)
    while not render.done:
        before = render.step
        with breaking(model, where), suppress(Broke):
            model.step([render])
        # A step that reuses does not come to the last block, and goes through.
        assert render.step == before or (where == "last block" and profile is not Profile.EXACT)
        if render.step == before:
            model.step([render])
    assert torch.equal(finish(model, render), alone[profile])
