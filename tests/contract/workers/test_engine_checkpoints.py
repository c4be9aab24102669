"""A render goes on from its checkpoint, elsewhere too, to the frames of an undisturbed one; or says why it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as as_safetensors

from orchestrator.adapters.s3 import S3Objects
from orchestrator.domain.catalog import TINY, Profile
from orchestrator.domain.errors import NotFound, RenderFailed
from orchestrator.domain.job import Checkpoint, RenderSpec
from orchestrator.domain.objects import checkpoint_prefix
from tests.support.models import PUBLISHED_AS, Loaded, a_model, a_picture, a_tiny_spec, denoise, denoised, family_of
from tests.support.models import Checkpoint as TinyCheckpoint
from tests.support.s3 import S3Server
from tests.support.workers import an_assignment
from workers.bucket import checkpoints
from workers.cogvideox.model import CogVideoX
from workers.engine.parts import Snapshot

CASES = [(name, guidance) for name in ("tiny-2b", "tiny-5b", "tiny-1.5-5b-i2v") for guidance in (6.0, 1.0)]
PUBLISHED = [(f"{family.name}{PUBLISHED_AS}", 6.0) for family in TINY]


def taken(model: CogVideoX, spec: RenderSpec, step: int) -> Snapshot:
    return model.snapshot(denoise(model, model.begin(spec, a_picture(spec.model)), step))


@pytest.mark.parametrize(("name", "guidance"), CASES + PUBLISHED)
def test_a_render_that_goes_on_at_any_step_ends_with_the_same_bits(
    loaded: Loaded, tiny_checkpoint: TinyCheckpoint, objects: S3Objects, name: str, guidance: float
) -> None:
    """Through S3, on another instance of the model, which has rendered something else meanwhile."""
    family = family_of(name)
    model, other = loaded(name), a_model(tiny_checkpoint(name), family)
    denoised(other, a_tiny_spec(family, seed=99, num_inference_steps=1))
    spec = a_tiny_spec(family, guidance_scale=guidance, num_inference_steps=3)
    render = model.begin(spec, a_picture(family))
    stored = [checkpoints.save(objects, an_assignment(), model.snapshot(render))]
    while not render.done:
        assert model.step([render]) == [None]
        stored.append(checkpoints.save(objects, an_assignment(), model.snapshot(render)))
    assert [checkpoint.step for checkpoint in stored] == [0, 1, 2, 3]
    for checkpoint in stored:
        assert checkpoint.numerics == other.numerics(spec)
        resumed = other.restore(spec, checkpoints.load(objects, checkpoint))
        assert resumed.step == checkpoint.step
        assert torch.equal(denoise(other, resumed).latents, render.latents)
    assert np.array_equal(other.decode(resumed), model.decode(render))


@pytest.mark.parametrize("family", ["tiny-2b", "tiny-5b", "tiny-1.5-5b-i2v"])
def test_what_a_narrow_model_keeps_in_32_bits_comes_back_in_32_bits(
    tiny_checkpoint: TinyCheckpoint, family: str
) -> None:
    """On a GPU latents have 16 bits, and the scheduler's memory has 32: rounded, it would lead elsewhere."""
    model = a_model(tiny_checkpoint(family), family, dtype="bfloat16")
    spec = a_tiny_spec(family, num_inference_steps=4)
    render = denoise(model, model.begin(spec, a_picture(family)), 2)
    resumed = model.restore(spec, checkpoints.parse(checkpoints.dump(model.snapshot(render))))
    for name in ("embeddings", "latents", "image_latents", "predicted", "timesteps"):
        before, after = getattr(render, name), getattr(resumed, name)
        assert (before is None) is (after is None), name
        if before is not None:
            assert before.dtype is after.dtype, name
            assert torch.equal(before, after), name
    assert render.predicted is not None
    assert render.predicted.dtype is torch.float32
    assert not torch.equal(render.predicted, render.predicted.to(torch.bfloat16).float()), "or this proves nothing"
    assert torch.equal(denoise(model, resumed).latents, denoise(model, render).latents)


_ELSEWHERE = """
import sys
from pathlib import Path
import numpy, torch
from tests.support.models import a_model, a_tiny_spec, denoise
from workers.bucket import checkpoints
torch.set_num_threads(1)
for line in sys.stdin:
    path, family, snapshot, frames = line.split("\\t")
    model = a_model(Path(path), family)
    render = denoise(model, model.restore(a_tiny_spec(family), checkpoints.parse(Path(snapshot).read_bytes())))
    numpy.save(frames.strip(), model.decode(render))
    print(model.numerics(render.spec))
"""


def test_another_process_goes_on_with_the_same_bits(
    loaded: Loaded, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """One for both kinds of a checkpoint's layout: it takes its time to import torch."""
    names = ("tiny-5b@published", "tiny-1.5-5b-i2v")
    told, numerics = [], []
    for name in names:
        snapshot = tmp_path / f"{name}.safetensors"
        taken_here = taken(loaded(name), a_tiny_spec(family_of(name)), 2)
        snapshot.write_bytes(checkpoints.dump(taken_here))
        numerics.append(taken_here.numerics)
        told.append(f"{tiny_checkpoint(name)}\t{family_of(name)}\t{snapshot}\t{tmp_path / name}.npy\n")
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE], input="".join(told), check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[-2:] == numerics
    for name in names:
        there = np.load(tmp_path / f"{name}.npy")
        assert np.array_equal(there, loaded(name).decode(denoised(loaded(name), a_tiny_spec(family_of(name)))))


def test_a_snapshot_stays_as_it_was_while_its_render_goes_on(loaded: Loaded) -> None:
    model = loaded("tiny-5b")
    render = denoise(model, model.begin(a_tiny_spec("tiny-5b"), None), 1)
    snapshot = model.snapshot(render)
    before = checkpoints.parse(checkpoints.dump(snapshot))
    denoise(model, render)
    assert before.tensors.keys() == snapshot.tensors.keys()
    assert all(torch.equal(tensor, before.tensors[name]) for name, tensor in snapshot.tensors.items())


def test_checkpoints_lie_under_their_claims_prefix_one_for_each_step(loaded: Loaded, objects: S3Objects) -> None:
    model, assignment = loaded("tiny-2b"), an_assignment()
    for step in (1, 2, 2):
        checkpoints.save(objects, assignment, taken(model, a_tiny_spec("tiny-2b"), step))
    prefix = checkpoint_prefix(assignment.job_id, assignment.claim)
    assert sorted(objects.list_keys("")) == [f"{prefix}0001.safetensors", f"{prefix}0002.safetensors"]


@pytest.fixture
def stored(loaded: Loaded, objects: S3Objects) -> Checkpoint:
    return checkpoints.save(objects, an_assignment(), taken(loaded("tiny-2b"), a_tiny_spec("tiny-2b"), 2))


def refused(objects: S3Objects, checkpoint: Checkpoint) -> str:
    with pytest.raises(RenderFailed) as failed:
        checkpoints.load(objects, checkpoint)
    assert failed.value.code == "checkpoint_unusable"
    return failed.value.message


def test_a_checkpoint_that_is_gone_is_unusable(objects: S3Objects, stored: Checkpoint) -> None:
    objects.delete([stored.artifact.key])
    with pytest.raises(NotFound):
        objects.get(stored.artifact.key)
    assert "is gone" in refused(objects, stored)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "another"])
def test_a_checkpoint_that_is_not_what_was_stored_is_unusable(
    objects: S3Objects, stored: Checkpoint, damage: str
) -> None:
    data = objects.get(stored.artifact.key)
    damaged = {
        "cut": data[:-1],
        "changed": data[:-1] + bytes([data[-1] ^ 1]),
        "empty": b"",
        "another": checkpoints.dump(replace(checkpoints.parse(data), step=3)),
    }
    objects.put(stored.artifact.key, damaged[damage], "application/octet-stream")
    assert "is not what was stored there" in refused(objects, stored)


def test_a_checkpoint_that_lost_its_end_in_the_store_is_unusable(s3_server: S3Server, loaded: Loaded) -> None:
    settings = s3_server.new_bucket()
    objects = S3Objects(settings)
    stored = checkpoints.save(objects, an_assignment(), taken(loaded("tiny-2b"), a_tiny_spec("tiny-2b"), 2))
    with s3_server.file(settings, stored.artifact.key).open("r+b") as file:
        file.truncate(1000)
    assert "is damaged" in refused(objects, stored)


@pytest.mark.parametrize("claimed", [{"step": 3}, {"numerics": "0" * 16}])
def test_a_checkpoint_that_contradicts_the_row_is_unusable(
    objects: S3Objects, stored: Checkpoint, claimed: dict[str, object]
) -> None:
    assert "is of step 2 under" in refused(objects, replace(stored, **claimed))


FOREIGN = {
    "nothing": b"",
    "no safetensors": b"\x10\0\0\0\0\0\0\0 not a header....",
    "an endless header": b"\xff" * 64,
    "without metadata": as_safetensors({"latents": torch.zeros(1)}),
    "of another maker": as_safetensors({"latents": torch.zeros(1)}, metadata={"format": "pt"}),
    "half described": as_safetensors({"latents": torch.zeros(1)}, metadata={"format": "cogmill-checkpoint-1"}),
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN.keys())
def test_an_object_that_is_no_checkpoint_is_unusable(objects: S3Objects, stored: Checkpoint, data: bytes) -> None:
    """Even with the row's own SHA-256."""
    foreign = objects.put(stored.artifact.key, data, "application/octet-stream")
    refused(objects, replace(stored, artifact=foreign))


def changed(snapshot: Snapshot, tensors: Mapping[str, torch.Tensor | None]) -> Snapshot:
    wanted = {name: tensor for name, tensor in {**snapshot.tensors, **tensors}.items() if tensor is not None}
    return replace(snapshot, tensors=wanted)


UNUSABLE = {
    "without latents": ({"latents": None}, "latents"),
    "of another shape": ({"latents": torch.zeros(1, 3, 4, 8, 8)}, "latents"),
    "without the scheduler's memory": ({"predicted": None}, "predicted"),
    "without a generator": ({"generator": None}, "generator"),
    "with another generator": ({"generator": torch.zeros(3, dtype=torch.uint8)}, "generator"),
    "poisoned": ({"latents": torch.full((1, 3, 4, 8, 12), torch.nan)}, "not finite"),
}


@pytest.mark.parametrize(("tensors", "complaint"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_snapshot_that_no_step_could_follow_is_refused(
    loaded: Loaded, tensors: dict[str, torch.Tensor | None], complaint: str
) -> None:
    model, spec = loaded("tiny-5b"), a_tiny_spec("tiny-5b")
    with pytest.raises(RenderFailed, match=complaint) as failed:
        model.restore(spec, changed(taken(model, spec, 1), tensors))
    assert failed.value.code == "checkpoint_unusable"


def test_a_snapshot_of_another_render_is_refused(loaded: Loaded) -> None:
    spec = a_tiny_spec("tiny-5b")
    snapshot = taken(loaded("tiny-5b"), spec, 2)
    for family, other in {
        "another shape": ("tiny-5b", replace(spec, num_frames=17)),
        "without guidance": ("tiny-5b", replace(spec, guidance_scale=1.0)),
        "fewer steps": ("tiny-5b", replace(spec, num_inference_steps=1)),
        "with a picture": ("tiny-1.5-5b-i2v", a_tiny_spec("tiny-1.5-5b-i2v")),
    }.values():
        with pytest.raises(RenderFailed) as failed:
            loaded(family).restore(other, snapshot)
        assert failed.value.code == "checkpoint_unusable"


def test_a_render_with_a_step_cache_goes_on_with_a_cold_one(loaded: Loaded) -> None:
    model, spec = loaded("tiny-5b"), a_tiny_spec("tiny-5b", profile=Profile.FAST, num_inference_steps=6)
    render = denoise(model, model.begin(spec, None), 3)
    resumed = model.restore(spec, model.snapshot(render))
    cache = model._acceleration.cache
    assert cache(render) is not None
    assert cache(resumed) is None
    for each in (render, resumed):
        assert np.isfinite(model.decode(denoise(model, each))).all()
        model.drop(each)
