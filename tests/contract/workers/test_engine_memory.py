"""Loading a checkpoint takes its weights in the precision asked for and one file beside, and is refused before that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ConfigError, RenderFailed
from orchestrator.domain.failure import FailureCode
from tests.support.models import Checkpoint, Loaded, a_model, a_tiny_spec, denoised
from tests.support.published import PUBLISHED
from tests.support.published_files import Sizes, write
from tests.support.workers import a_plan
from workers.assembly import model_of
from workers.cogvideox import hostmemory, loading, weights
from workers.cogvideox.hostmemory import HostMemory
from workers.engine.parts import Decoding

CPU = torch.device("cpu")
MIB = 2**20
PARTS = ("text_encoder", "transformer", "vae")
# Every part in as many files as published, some 400 MB of them, most of it T5's.
HALFWAY = Sizes(
    transformer={"num_layers": 2, "num_attention_heads": 8, "text_embed_dim": 1024, "time_embed_dim": 64},
    vae={"block_out_channels": [32, 64, 64, 128], "layers_per_block": 1},
    text_encoder={"d_model": 1024, "d_ff": 2816, "num_layers": 7, "num_heads": 16, "vocab_size": 8000},
)
# What Python's allocator and the reading of single tensors add.
SLACK = 80 * MIB

LOAD = """
import json, resource, sys, torch
from pathlib import Path
from orchestrator.domain.catalog import FAMILIES
from workers.cogvideox import loading

torch.set_num_threads(1)
tiny, path, family, dtype = sys.argv[1:]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

cpu = torch.device("cpu")
loading.load(Path(tiny), FAMILIES["tiny-1.5-5b"], cpu, torch.bfloat16)  # imports what loading imports
before = peak()
pipeline = loading.load(Path(path), FAMILIES[family], cpu, getattr(torch, dtype))
after = peak()
parts = (pipeline.text_encoder, pipeline.transformer, pipeline.vae)
held = sum(each.numel() * each.itemsize for part in parts for each in part.parameters())
dtypes = sorted({str(each.dtype) for part in parts for each in part.parameters()})
print(json.dumps({"took": after - before, "held": held, "dtypes": dtypes}))
"""


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(PUBLISHED["cogvideox-1.5-5b"], tmp_path_factory.mktemp("halfway") / "model", HALFWAY)


def test_no_weight_is_held_twice_beyond_one_file(halfway: Path, tiny_checkpoint: Checkpoint) -> None:
    """T5 is published in 32 bits and four files, so all that is read of it is cast."""
    found = weights.read(halfway, PARTS)
    arguments = [str(tiny_checkpoint("tiny-1.5-5b")), str(halfway), "cogvideox-1.5-5b", "bfloat16"]
    done = subprocess.run([sys.executable, "-c", LOAD, *arguments], check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["dtypes"] == ["torch.bfloat16"]
    predicted = sum(each.size("bfloat16") for each in found)
    assert told["held"] == predicted, "what is predicted from the headers is what is held"
    largest = max(each.largest_file for each in found)
    assert predicted > 2 * largest, "or the bound below would prove nothing"
    assert told["took"] <= predicted + largest + SLACK, f"{told['took'] >> 20} MiB for {predicted >> 20}"


def test_a_model_that_does_not_fit_is_refused_before_memory_is_spent(
    halfway: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostmemory, "read", lambda: HostMemory(total=2**30, available=2**30))
    monkeypatch.setattr(loading, "load", None)
    plan = a_plan("cogvideox-1.5-5b", halfway)
    with pytest.raises(ConfigError, match=r"^cogvideox-1\.5-5b does not fit: in bfloat16 .* what would help: "):
        model_of(plan, CPU)


def test_a_cpu_without_room_for_32_bits_renders_in_16_and_its_numerics_say_so(
    tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, path = FAMILIES["tiny-2b"], tiny_checkpoint("tiny-2b")
    assert loading.dtype_for(path, family, CPU) is torch.float32
    monkeypatch.setattr("workers.cogvideox.room._DECODE_FACTOR", 2**30 // (32 * 32 * 4 * 3))  # a tile: 1.3 or 0.67 GiB
    monkeypatch.setattr(hostmemory, "read", lambda: HostMemory(total=0, available=2**30 + 2**30 * 9 // 10))
    with capture_logs() as told:
        assert loading.dtype_for(path, family, CPU) is torch.bfloat16
    assert [(line["event"], line["dtype"]) for line in told] == [("loaded_in", "bfloat16")]
    assert "in float32 there is no room left to render in" in told[0]["because"]
    assert loading.dtype_for(path, family, CPU, "bfloat16") is torch.bfloat16
    with pytest.raises(ConfigError, match="dtype bfloat16"):
        loading.dtype_for(path, family, CPU, "float32")
    with pytest.raises(ConfigError, match="dtype bfloat16"):
        loading.dtype_for(path, family, CPU, ranks=2)  # ranks that choose for themselves could differ


@pytest.mark.parametrize("family", ["tiny-2b", "tiny-5b", "tiny-1.5-5b-i2v"])
def test_bfloat16_renders_on_a_cpu_under_another_fingerprint(
    tiny_checkpoint: Checkpoint, loaded: Loaded, family: str
) -> None:
    spec = a_tiny_spec(family, num_inference_steps=2)
    model = a_model(tiny_checkpoint(family), family, dtype="bfloat16")
    render = denoised(model, spec)
    assert model.decode(render).shape == (spec.num_frames, spec.height, spec.width, 3)
    assert model.facts(spec)["dtype"] == "torch.bfloat16"
    assert model.numerics(spec) != loaded(family).numerics(spec)


def test_a_decode_that_would_kill_a_cpus_process_is_tried_in_tiles_instead(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded("tiny-2b")
    render = denoised(model, a_tiny_spec("tiny-2b", num_inference_steps=1))
    monkeypatch.setattr(hostmemory, "read", lambda: HostMemory(total=0, available=8 * MIB))
    with pytest.raises(RenderFailed, match="a decode takes 12 MiB, and 8 MiB can be had") as failed:
        model.decode(render)
    assert failed.value.code is FailureCode.OUT_OF_MEMORY  # for which there is a ladder
    assert model.decode(render, Decoding.TILED).shape == (9, 64, 96, 3)
