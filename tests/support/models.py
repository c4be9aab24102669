"""The tiny checkpoints for tests, made once per test process with the real classes, and models loaded from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.config import AdapterSettings, PoolSettings
from orchestrator.domain.catalog import FAMILIES
from tests.support.builders import a_spec
from tests.support.published import PUBLISHED
from tests.support.published_files import small, write
from workers.cogvideox import tiny

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orchestrator.domain.job import RenderSpec
    from workers.cogvideox.model import CogVideoX, Transform
    from workers.cogvideox.render import Render

# A tiny family's name, with `@published` behind it for the twin in the layout of its large sibling on the Hub.
Checkpoint = Callable[[str], Path]
Loaded = Callable[[str], "CogVideoX"]
PUBLISHED_AS = "@published"


def family_of(name: str) -> str:
    """The tiny family of a checkpoint's name."""
    return name.removesuffix(PUBLISHED_AS)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The path of a tiny family's checkpoint, made at the first call: as our libraries save it, or `NAME@published`.

    Torch gets one thread, as in an actor on a CPU: results then agree to the last bit between the threads of a test,
    and parallel tests do not spin on each other's cores.
    """
    import torch

    torch.set_num_threads(1)
    directory = tmp_path_factory.getbasetemp() / "models"

    def path_of(name: str) -> Path:
        family = FAMILIES[family_of(name)]
        if name == family.name:
            return tiny.make(family, directory)
        path = directory / name
        if not path.is_dir():
            model = PUBLISHED[family.name.replace("tiny", "cogvideox")]
            write(model, path, small(model, family))
        return path

    return path_of


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint: Checkpoint) -> Loaded:
    """The model of a tiny family, or of its twin in the published layout, loaded once for the tests of a module."""
    return cache(lambda name: a_model(tiny_checkpoint(name), family_of(name)))


def a_model(
    path: Path,
    family: str,
    *,
    adapters: Mapping[str, AdapterSettings] | None = None,
    transform: Transform | None = None,
    **settings: Any,
) -> CogVideoX:
    """The checkpoint at `path` on the CPU, as a worker of a pool with these settings has it."""
    import torch

    from workers import modelfiles
    from workers.cogvideox import loading
    from workers.cogvideox.acceleration import Acceleration
    from workers.cogvideox.adapters import Adapters
    from workers.cogvideox.model import CogVideoX

    device = torch.device("cpu")
    pool = PoolSettings(model=family, **settings)
    dtype = torch.float32 if pool.dtype == "auto" else getattr(torch, pool.dtype)
    pipeline = loading.load(path, FAMILIES[family], device, dtype)
    return CogVideoX(
        pipeline,
        FAMILIES[family],
        device,
        acceleration=Acceleration.prepare(pipeline.transformer, FAMILIES[family], device, pool),
        adapters=Adapters(pipeline, adapters or {}, Path, pool.adapters_cached),
        transform=transform,
        revision=modelfiles.revision(path, path.parent),
    )


def a_tiny_spec(family: str, **changes: Any) -> RenderSpec:
    """The cheapest spec that a tiny family renders, with `changes`."""
    frames = FAMILIES[family].min_frames
    return a_spec(**{"model": family, "num_frames": frames, "fps": FAMILIES[family].fps, **changes})


def a_picture(family: str, seed: int = 1, width: int = 96, height: int = 64) -> NDArray[np.uint8] | None:
    """Noise for an image-to-video family to begin at, of a spec's size; None for the others."""
    import numpy as np

    if not FAMILIES[family].image_to_video:
        return None
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def denoise(model: CogVideoX, render: Render, until: int | None = None) -> Render:
    """Step a render alone up to the step `until`, or to its end."""
    while render.step != (render.spec.num_inference_steps if until is None else until):
        assert model.step([render]) == [None]
    return render


def denoised(model: CogVideoX, spec: RenderSpec, picture: NDArray[np.uint8] | None = None) -> Render:
    """A render begun and denoised, at the usual picture when its family needs one."""
    if picture is None:
        picture = a_picture(spec.model, width=spec.width, height=spec.height)
    return denoise(model, model.begin(spec, picture))
