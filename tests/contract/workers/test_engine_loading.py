"""A checkpoint is loaded as the family that it is of, or refused with a word on what it is instead."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXDPMScheduler
from safetensors.torch import load_file, save_file

from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.errors import ConfigError
from tests.support.models import Checkpoint, a_model, a_tiny_spec
from workers.cogvideox.loading import load

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("checkpoint", "loaded_as", "complaint"),
    [
        ("tiny-5b", FAMILIES["tiny-5b-i2v"], "is a text-to-video model"),
        ("tiny-5b-i2v", FAMILIES["tiny-5b"], "is an image-to-video model"),
        ("tiny-5b-i2v", FAMILIES["cogvideox-5b-i2v"], "has learned the positions of 96x64 and 49 frames"),
        ("tiny-5b", FAMILIES["tiny-1.5-5b"], "is a CogVideoX 1.0 model"),
        ("tiny-1.5-5b-i2v", FAMILIES["tiny-5b-i2v"], "is a CogVideoX 1.5 model"),
        ("tiny-5b", FAMILIES["tiny-2b"], "is a 5B model"),
        ("tiny-2b", FAMILIES["tiny-5b"], "is a 2B model"),
        ("tiny-2b", replace(FAMILIES["tiny-2b"], max_prompt_tokens=224), "takes 226 prompt tokens"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_by_name(
    tiny_checkpoint: Checkpoint, checkpoint: str, loaded_as: ModelFamily, complaint: str
) -> None:
    path = tiny_checkpoint(checkpoint)
    with pytest.raises(ConfigError, match=f"{path} {complaint}, which {loaded_as.name} is not"):
        load(path, loaded_as, CPU, torch.float32)


def test_a_directory_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load(tmp_path, FAMILIES["tiny-2b"], CPU, torch.float32)


def test_a_text_encoder_that_lacks_weights_is_refused(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = shutil.copytree(tiny_checkpoint("tiny-2b"), tmp_path / "model")
    file = path / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    del weights["encoder.final_layer_norm.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 weights, encoder\.final_layer_norm\.weight first"):
        load(path, FAMILIES["tiny-2b"], CPU, torch.float32)


@pytest.mark.parametrize("family", ["tiny-1.5-5b", "cogvideox-1.5-5b-i2v"])
def test_the_later_models_are_never_loaded_in_float16(tiny_checkpoint: Checkpoint, family: str) -> None:
    with pytest.raises(ConfigError, match=f"{family} cannot be rendered in float16"):
        load(tiny_checkpoint("tiny-1.5-5b"), FAMILIES[family], CPU, torch.float16)


def test_the_scheduler_comes_from_the_family_and_not_from_the_checkpoint(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = shutil.copytree(tiny_checkpoint("tiny-5b"), tmp_path / "model")
    for name, changes in {
        "model_index.json": {"scheduler": ["diffusers", "CogVideoXDDIMScheduler"]},
        "scheduler/scheduler_config.json": {"_class_name": "CogVideoXDDIMScheduler", "timestep_spacing": "leading"},
    }.items():
        (path / name).write_text(json.dumps(json.loads((path / name).read_text()) | changes))
    render = a_model(path, "tiny-5b").begin(a_tiny_spec("tiny-5b"), None)
    assert type(render.scheduler) is CogVideoXDPMScheduler
    assert render.scheduler.config.timestep_spacing == "trailing"
