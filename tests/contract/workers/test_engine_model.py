"""What a loaded model promises its engine: batches that do not mix, failures that leave nothing, decodes that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXDecoder3D

from orchestrator.domain.catalog import FAMILIES, TINY, Profile
from orchestrator.domain.errors import RenderFailed
from orchestrator.policy.cost import predict_resident_bytes
from tests.support.models import Checkpoint, Loaded, a_model, a_picture, a_tiny_spec, denoise, denoised
from workers.cogvideox.model import CogVideoX
from workers.cogvideox.render import Render
from workers.engine.parts import Decoding, Reading

NAMES = [family.name for family in TINY]
NEEDING_LESS = [Decoding.TILED, Decoding.OFFLOADED]


def begun(model: CogVideoX, family: str, steps: Sequence[int], **changes: Any) -> list[Render]:
    """Renders of one shape that differ in seed, prompt and step count, each some steps on its way."""
    specs = [
        a_tiny_spec(family, seed=seed, prompt=f"scene {seed}", num_inference_steps=3 + seed, **changes)
        for seed in range(len(steps))
    ]
    return [
        denoise(model, model.begin(spec, a_picture(family, spec.seed)), step)
        for spec, step in zip(specs, steps, strict=True)
    ]


def state(render: Render) -> list[Any]:
    tensors = (render.latents, render.predicted, render.generator.get_state())
    return [render.step, *(None if tensor is None else tensor.tolist() for tensor in tensors)]


@pytest.mark.parametrize("guidance", [6.0, 1.0])
@pytest.mark.parametrize("family", ["tiny-2b", "tiny-5b", "tiny-1.5-5b-i2v"])
def test_renders_at_different_steps_move_together_as_they_would_alone(
    loaded: Loaded, family: str, guidance: float
) -> None:
    """To within float rounding (2.5e-6 seen): a larger batch takes another path through the same sums."""
    model = loaded(family)
    together, alone = (begun(model, family, (0, 2, 1), guidance_scale=guidance) for _ in range(2))
    for _ in range(2):
        assert model.step(together) == [None, None, None]
    for moved, expected in zip(together, alone, strict=True):
        denoise(model, expected, expected.step + 2)
        assert moved.step == expected.step
        torch.testing.assert_close(moved.latents, expected.latents, rtol=1e-5, atol=1e-5)
        assert torch.equal(moved.generator.get_state(), expected.generator.get_state())


class Disturbed:
    """The transformer's own forward, until it is told to break or to poison one of the renders that step."""

    def __init__(self) -> None:
        self.breaks = False
        self.poisons: int | None = None
        self.forward: Callable[..., torch.Tensor]

    def __call__(self, **inputs: Any) -> torch.Tensor:
        prediction = self.forward(**inputs)
        if self.breaks:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        if self.poisons is not None:
            prediction[self.poisons] = float("nan")
        return prediction


@pytest.fixture(params=["tiny-2b", "tiny-5b"])
def disturbed(request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint) -> tuple[CogVideoX, Disturbed]:
    transform = Disturbed()
    model = a_model(tiny_checkpoint(request.param), request.param, transform=transform)
    transform.forward = model._forward
    return model, transform


def test_a_step_that_raises_leaves_every_render_untouched(disturbed: tuple[CogVideoX, Disturbed]) -> None:
    model, transform = disturbed
    renders = begun(model, model._family.name, (0, 2))
    before = [state(render) for render in renders]
    transform.breaks = True
    with pytest.raises(RenderFailed, match="CUDA out of memory") as failed:
        model.step(renders)
    assert failed.value.code == "out_of_memory"
    assert [state(render) for render in renders] == before
    model.recover()
    transform.breaks = False
    frames = [model.decode(denoise(model, render)) for render in renders]
    for render, continued in zip(renders, frames, strict=True):
        assert np.array_equal(continued, model.decode(denoised(model, render.spec)))


def test_a_scheduler_that_raises_leaves_every_render_untouched(
    disturbed: tuple[CogVideoX, Disturbed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of the two has drawn its noise by then."""
    model, _ = disturbed
    renders = begun(model, model._family.name, (1, 2))
    before = [state(render) for render in renders]
    monkeypatch.setattr(renders[1].scheduler, "step", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.step(renders)
    assert [state(render) for render in renders] == before


def test_one_poisoned_render_of_a_batch_fails_alone(disturbed: tuple[CogVideoX, Disturbed]) -> None:
    model, transform = disturbed
    renders, alone = (begun(model, model._family.name, (1, 2)) for _ in range(2))
    before = state(renders[1])
    transform.poisons = 3  # the second render's pass with its prompt
    fine, poisoned = model.step(renders)
    assert fine is None
    assert poisoned is not None
    assert poisoned.code == "nan_frames"
    assert state(renders[1]) == before
    transform.poisons = None
    denoise(model, alone[0], 2)
    torch.testing.assert_close(renders[0].latents, alone[0].latents, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("profile", list(Profile))
def test_an_exact_render_after_a_poisoned_one_is_like_any_other(
    disturbed: tuple[CogVideoX, Disturbed], profile: Profile
) -> None:
    model, transform = disturbed
    exact = a_tiny_spec(model._family.name)
    expected = model.decode(denoised(model, exact))
    render = denoise(model, model.begin(replace(exact, profile=profile), None), 2)
    transform.poisons = 0
    (poisoned,) = model.step([render])
    assert poisoned is not None
    transform.poisons = None
    model.drop(render)
    model.recover()
    assert np.array_equal(model.decode(denoised(model, exact)), expected)


def test_latents_that_are_not_finite_fail_before_the_decode(loaded: Loaded) -> None:
    model = loaded("tiny-2b")
    render = denoised(model, a_tiny_spec("tiny-2b", num_inference_steps=1))
    render.latents = render.latents * float("nan")
    with pytest.raises(RenderFailed) as failed:
        model.decode(render)
    assert failed.value.code == "nan_frames"


def placed(model: CogVideoX) -> dict[str, Any]:
    """Where everything is that a decode may move, and how the VAE would decode next."""
    pipeline = model._pipeline
    tiling = {name: value for name, value in vars(pipeline.vae).items() if "til" in name}
    modules = {"transformer": pipeline.transformer, "text_encoder": pipeline.text_encoder}
    return tiling | {name: {str(each.device) for each in module.parameters()} for name, module in modules.items()}


class Watched:
    """Which latent shapes the VAE's decoder is given, and what else was moved before; it may run out of memory."""

    def __init__(self, model: CogVideoX, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: set[tuple[int, int]] = set()
        self.moves: list[str] = []
        self.fails = False
        self._decode = CogVideoXDecoder3D.forward
        monkeypatch.setattr(CogVideoXDecoder3D, "forward", lambda *args, **rest: self._watch(*args, **rest))
        for module in (model._pipeline.transformer, model._pipeline.text_encoder):
            monkeypatch.setattr(module, "to", self._moved)

    def _watch(self, decoder: CogVideoXDecoder3D, latents: torch.Tensor, *args: Any, **rest: Any) -> Any:
        self.sizes.add((latents.shape[-2], latents.shape[-1]))
        if self.fails:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        return self._decode(decoder, latents, *args, **rest)

    def _moved(self, device: Any) -> None:
        assert not torch.is_inference_mode_enabled(), "or nobody could load an adapter afterwards"
        self.moves.append(f"to {device}" if not self.sizes else f"back to {device}")


@pytest.mark.parametrize("family", NAMES)
def test_tokens_are_counted_before_the_prompt_is_cut_and_exactly_those_beyond_the_limit_have_no_effect(
    loaded: Loaded, family: str
) -> None:
    """Two prompts that differ behind the limit are one to the model, and both are known to be cut."""
    model, limit = loaded(family), FAMILIES[family].max_prompt_tokens
    spec = a_tiny_spec(family)
    counted = [model.read(replace(spec, prompt="a" * length)).prompt for length in (10, 11)]
    assert counted[1] == counted[0] + 1  # each letter is a token here
    fits = "a" * (10 + limit - counted[0])
    assert model.read(replace(spec, prompt=fits, negative_prompt=fits + "a")) == Reading(
        prompt=limit, negative=limit + 1, limit=limit
    )
    cut = [replace(spec, prompt=fits + end) for end in ("bc", "cb")]
    assert [model.read(one).prompt for one in cut] == [limit + 2] * 2
    embeddings = [model._prompts.embeddings(one) for one in cut]
    assert torch.equal(*embeddings)
    assert not torch.equal(embeddings[0], model._prompts.embeddings(replace(spec, prompt="b" + fits[1:])))


@pytest.mark.parametrize("how", NEEDING_LESS)
@pytest.mark.parametrize("family", ["tiny-2b", "tiny-1.5-5b-i2v"])
def test_a_decode_that_needs_less_memory_shows_the_same_and_leaves_no_trace(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, family: str, how: Decoding
) -> None:
    model = loaded(family)
    render = denoised(model, a_tiny_spec(family, num_inference_steps=2))
    whole, before = model.decode(render), placed(model)
    with monkeypatch.context() as patch:
        watched = Watched(model, patch)
        frames = model.decode(render, how)
    assert frames.shape == whole.shape
    # Norms over a tile are not those over the frame: near, where a tile in the wrong place would be far off.
    assert np.abs(frames.astype(int) - whole).mean() < whole.std() / 4
    assert all(height < 8 and width < 12 for height, width in watched.sizes)
    offloaded = ["to cpu", "to cpu", "back to cpu", "back to cpu"]
    assert watched.moves == (offloaded if how is Decoding.OFFLOADED else [])
    assert placed(model) == before
    assert np.array_equal(model.decode(render), whole)


@pytest.mark.parametrize("how", list(Decoding))
def test_running_out_of_memory_at_a_decode_leaves_neither_tiles_nor_modules_out_of_place(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, how: Decoding
) -> None:
    model = loaded("tiny-2b")
    render = denoised(model, a_tiny_spec("tiny-2b", num_inference_steps=2))
    whole, before = model.decode(render), placed(model)
    with monkeypatch.context() as patch:
        watched = Watched(model, patch)
        watched.fails = True
        with pytest.raises(RenderFailed, match="CUDA out of memory") as failed:
            model.decode(render, how)
        assert failed.value.code == "out_of_memory"
        assert watched.moves.count("to cpu") == watched.moves.count("back to cpu")
    model.recover()
    assert placed(model) == before
    assert np.array_equal(model.decode(render), whole)


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("profile", [Profile.EXACT, Profile.FAST])
def test_the_predicted_resident_bytes_bound_what_a_begun_render_holds(
    loaded: Loaded, family: str, profile: Profile
) -> None:
    model, spec = loaded(family), a_tiny_spec(family, profile=profile, num_inference_steps=1)
    render = denoised(model, spec)
    config = model._pipeline.transformer.config
    # The prediction knows the large models' widths; a tiny one's tensors are as long, and by this much narrower.
    latents = [each for each in (render.latents, render.image_latents, render.predicted) if each is not None]
    held = 16 / config.out_channels * sum(each.nbytes for each in latents)
    held += 4096 / config.text_embed_dim * render.embeddings.nbytes
    held += 64 / config.attention_head_dim * sum(each.nbytes for each in render.rotary or ())
    cache = model._acceleration.cache(render)
    if cache is not None and cache.memory is not None:
        held += cache.memory.first.nbytes + cache.memory.others.nbytes
    assert (cache is not None) is (profile is Profile.FAST)
    predicted = predict_resident_bytes(FAMILIES[family], spec)
    assert 0.9 * predicted < held <= predicted
    model.drop(render)
    assert model._acceleration.cache(render) is None


def test_a_fingerprint_tells_apart_what_decides_the_bits_and_nothing_else(
    tiny_checkpoint: Checkpoint, loaded: Loaded
) -> None:
    model, spec = loaded("tiny-2b"), a_tiny_spec("tiny-2b")
    again = a_model(tiny_checkpoint("tiny-2b"), "tiny-2b")
    assert model.numerics(spec) == again.numerics(replace(spec, prompt="another", seed=9, num_inference_steps=9))
    others = [
        model.numerics(replace(spec, profile=Profile.FAST)),
        loaded("tiny-5b").numerics(spec),
        a_model(tiny_checkpoint("tiny-2b"), "tiny-2b", quantization="int8").numerics(spec),
    ]
    assert len({model.numerics(spec), *others}) == 4
    facts = model.facts(spec)
    assert facts["family"] == "tiny-2b"
    assert facts["torch"] == torch.__version__
