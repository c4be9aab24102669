"""What a loaded checkpoint cannot render is refused by name at load, or ends its job for good; never its worker."""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from orchestrator.config import AdapterSettings
from orchestrator.domain.catalog import FAMILIES, TINY, ModelFamily
from orchestrator.domain.errors import ConfigError, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Artifact
from orchestrator.domain.outcome import blames_worker
from orchestrator.domain.protocol import Broke, End, Rendered
from orchestrator.telemetry import logs
from tests.support.engine import a_roster, the_end
from tests.support.models import Checkpoint, a_model, a_tiny_spec
from tests.support.workers import an_assignment, parts
from workers.bucket import inputs
from workers.cogvideox.loading import load
from workers.cogvideox.model import CogVideoX
from workers.engine.loop import Engine

CPU = torch.device("cpu")
RENDERS = Callable[..., End]


def a_png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


PICTURE = Artifact(key="inputs/picture", size=1, sha256=hashlib.sha256(a_png()).hexdigest(), content_type="image/png")


class Pictures:
    """A bucket that holds one picture."""

    def get(self, key: str) -> bytes:
        return a_png()


@contextmanager
def at_work(model: CogVideoX) -> Iterator[RENDERS]:
    """An engine with a real model and real fetching: from a family and changes of its spec to how the render ends."""
    roster = a_roster()
    given: Any = parts(model, fetch=partial(inputs.fetch, Pictures(), model.numerics))  # type: ignore[arg-type]
    thread = threading.Thread(target=Engine(roster, given, logs.get("test")).run)
    thread.start()

    def render(family: str, **changes: Any) -> End:
        needs = {"image": PICTURE} if FAMILIES[family].image_to_video else {}
        spec = a_tiny_spec(family, **{"num_inference_steps": 1, **needs, **changes})
        values = {name: getattr(spec, name) for name in spec.__dataclass_fields__}
        assignment = an_assignment(**values)
        assert roster.assign(assignment)
        end = the_end(roster, assignment.token)
        roster.forget(assignment.token)
        return end

    try:
        yield render
    finally:
        roster.close()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def working(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RENDERS]:
    """Renders of any of three families, each by an engine of its own; they take the adapter `foreign`."""
    file = tmp_path_factory.mktemp("adapters") / "foreign.safetensors"
    layer = "transformer.transformer_blocks.41.attn1.to_q"
    save_file({f"{layer}.lora_A.weight": torch.ones(4, 3072), f"{layer}.lora_B.weight": torch.ones(3072, 4)}, file)
    names = ("tiny-2b", "tiny-5b-i2v", "tiny-1.5-5b-i2v")
    adapters = {"foreign": AdapterSettings(source=str(file), models=names)}
    with (
        at_work(a_model(tiny_checkpoint(names[0]), names[0], adapters=adapters)) as one,
        at_work(a_model(tiny_checkpoint(names[1]), names[1], adapters=adapters)) as two,
        at_work(a_model(tiny_checkpoint(names[2]), names[2], adapters=adapters)) as three,
    ):
        engines = dict(zip(names, (one, two, three), strict=True))
        yield lambda family, **changes: engines[family](family, **changes)


@pytest.mark.parametrize(
    ("family", "changes", "code", "told"),
    [
        ("tiny-2b", {"width": 100}, FailureCode.IMPOSSIBLE_REQUEST, "multiples of 16, not 100x64"),
        ("tiny-2b", {"height": 0}, FailureCode.IMPOSSIBLE_REQUEST, "multiples of 16, not 96x0"),
        ("tiny-2b", {"num_frames": 10}, FailureCode.IMPOSSIBLE_REQUEST, "one more than a multiple of 4, not 10"),
        ("tiny-2b", {"num_frames": -3}, FailureCode.IMPOSSIBLE_REQUEST, "one more than a multiple of 4, not -3"),
        ("tiny-5b-i2v", {"width": 64}, FailureCode.IMPOSSIBLE_REQUEST, "positions for 96x64 and 49 frames, not for 64"),
        ("tiny-5b-i2v", {"num_frames": 9}, FailureCode.IMPOSSIBLE_REQUEST, "not for 96x64 and 9 frames"),
        (
            "tiny-1.5-5b-i2v",
            {"height": 336},
            FailureCode.IMPOSSIBLE_REQUEST,
            "at most 320 pixels in width and 320 in height, not for 96x336",
        ),
        ("tiny-1.5-5b-i2v", {"width": -96}, FailureCode.IMPOSSIBLE_REQUEST, "multiples of 16, not -96x64"),
        ("tiny-5b-i2v", {"image": None}, FailureCode.WRONG_IMAGE, "needs a picture to begin at"),
        ("tiny-2b", {"image": PICTURE}, FailureCode.WRONG_IMAGE, "takes no picture"),
        ("tiny-2b", {"adapter": "foreign"}, FailureCode.ADAPTER_UNUSABLE, "this model has no such linear layer"),
        ("tiny-2b", {"adapter": "unheard"}, FailureCode.ADAPTER_UNUSABLE, "started without it"),
        ("tiny-2b", {"adapter_scale": math.nan}, FailureCode.IMPOSSIBLE_REQUEST, "strength must be a finite number"),
        ("tiny-2b", {"num_inference_steps": 0}, FailureCode.IMPOSSIBLE_REQUEST, "steps must be 1 to 1000, not 0"),
        ("tiny-2b", {"num_inference_steps": 1001}, FailureCode.IMPOSSIBLE_REQUEST, "steps must be 1 to 1000"),
        ("tiny-2b", {"guidance_scale": math.nan}, FailureCode.IMPOSSIBLE_REQUEST, "guidance must be a finite number"),
        ("tiny-2b", {"guidance_scale": math.inf}, FailureCode.IMPOSSIBLE_REQUEST, "guidance must be a finite number"),
        ("tiny-2b", {"seed": 2**64}, FailureCode.IMPOSSIBLE_REQUEST, "a seed must fit into 64 bits"),
        ("tiny-2b", {"prompt": "\ud800"}, FailureCode.IMPOSSIBLE_REQUEST, "the prompt is no Unicode text"),
        ("tiny-2b", {"negative_prompt": "\udfff"}, FailureCode.IMPOSSIBLE_REQUEST, "the negative prompt is no Unicode"),
    ],
)
def test_whatever_a_request_makes_impossible_is_final_and_no_fault_of_the_workers(
    working: RENDERS, family: str, changes: dict[str, Any], code: FailureCode, told: str
) -> None:
    end = working(family, **changes)
    assert isinstance(end, Broke), end
    assert end.failure.code == code
    assert told in end.failure.message
    assert code.beside_the_worker
    assert not end.failure.retryable
    assert not blames_worker(end.failure)
    assert isinstance(working(family), Rendered), "the worker goes on"


def landscape(path: Path, target: Path) -> Path:
    """1.5 trained at one size, 160x96, as its sample size says."""
    copy = shutil.copytree(path, target)
    file = copy / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_width": 20, "sample_height": 12}))
    return Path(copy)


def test_a_checkpoint_that_lacks_a_size_of_its_family_is_refused_by_name(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = landscape(tiny_checkpoint("tiny-1.5-5b-i2v"), tmp_path / "model")
    family = FAMILIES["tiny-1.5-5b-i2v"]
    taller = (*family.sizes, (64, 128))
    with pytest.raises(ConfigError) as refused:
        load(path, family.offering(taller), CPU, torch.float32)
    assert str(refused.value) == (
        f"the checkpoint at {path} has positions for at most 160 pixels in width and 96 in height, not for 64x128; "
        "set models.NAME.sizes to those that it renders: 96x64, 64x96, 64x64, 160x96"
    )
    load(path, family.offering(((160, 96), (96, 64))), CPU, torch.float32)


def test_a_portrait_for_a_landscape_checkpoint_ends_its_job_and_nothing_else(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """As reported: it was a bare RuntimeError, tried again, and three such jobs cost a healthy worker its life."""
    family = "tiny-1.5-5b-i2v"
    model = a_model(landscape(tiny_checkpoint(family), tmp_path / "model"), family)
    with at_work(model) as render:
        for _ in range(3):
            end = render(family, width=96, height=160)
            assert isinstance(end, Broke)
            assert end.failure.code == "impossible_request"
            assert "not for 96x160 and 17 frames" in end.failure.message
            assert not blames_worker(end.failure)
        assert isinstance(render(family, width=160, height=96), Rendered)


@pytest.mark.parametrize("family", TINY, ids=lambda family: family.name)
def test_every_size_and_length_that_a_family_promises_can_be_begun(
    tiny_checkpoint: Checkpoint, family: ModelFamily
) -> None:
    model = a_model(tiny_checkpoint(family.name), family.name)
    for width, height in {*family.sizes, *map(family.draft_size, family.sizes)}:
        for num_frames in (family.min_frames, family.max_frames):
            model.numerics(a_tiny_spec(family.name, width=width, height=height, num_frames=num_frames))


def test_a_picture_of_another_size_is_refused_and_not_stretched(tiny_checkpoint: Checkpoint) -> None:
    model = a_model(tiny_checkpoint("tiny-5b-i2v"), "tiny-5b-i2v")
    with pytest.raises(RenderFailed, match="the picture is") as failed:
        model.begin(a_tiny_spec("tiny-5b-i2v"), np.zeros((64, 64, 3), np.uint8))
    assert (failed.value.code, failed.value.retryable) == (FailureCode.WRONG_IMAGE, False)
