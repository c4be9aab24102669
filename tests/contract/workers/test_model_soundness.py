"""Whatever keeps a published checkpoint from being loaded is found in its files first, by name, without torch."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.commands import doctor
from orchestrator.commands.findings import Health
from orchestrator.config import ModelSettings, S3Settings
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ConfigError
from tests.support.published import PUBLISHED
from tests.support.published_files import small, write
from workers import modelfiles
from workers.modelfiles import layout, vocabulary

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
TEXT = "text_encoder/model-00001-of-00004.safetensors"
DIT = "transformer/diffusion_pytorch_model-00002-of-00003.safetensors"
TEXT_INDEX = "text_encoder/model.safetensors.index.json"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The most sharded of the five."""
    model = PUBLISHED["cogvideox-1.5-5b"]
    return write(model, tmp_path_factory.mktemp("published") / "15", small(model, FAMILIES["tiny-1.5-5b"]))


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def cut(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])

    return damage


def filled(name: str, data: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(data) and None


def gone(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def renamed(name: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / name).rename((root / name).with_name(new)) and None


def reindexed(change: Callable[[dict[str, str]], None]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        document = json.loads((root / TEXT_INDEX).read_text())
        change(document["weight_map"])
        (root / TEXT_INDEX).write_text(json.dumps(document))

    return damage


def misplaced(places: dict[str, str]) -> None:
    places["a.tensor.nobody.has"] = Path(TEXT).name


def forgotten(places: dict[str, str]) -> None:
    del places[next(name for name, place in places.items() if place == Path(TEXT).name)]


def at_a_boundary(root: Path) -> None:
    """The vocabulary's first hundred pieces: a whole message, and no whole model."""
    data = (root / "tokenizer/spiece.model").read_bytes()
    position = 0
    for _ in range(100):
        _, after = vocabulary._varint(data, position)
        length, after = vocabulary._varint(data, after)
        position = after + length
    (root / "tokenizer/spiece.model").write_bytes(data[:position])


CONFIGS = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/added_tokens.json",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "vae/config.json",
)
OPENED = (*CONFIGS, TEXT, TEXT_INDEX, DIT, "tokenizer/spiece.model", "vae/diffusion_pytorch_model.safetensors")
DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    *((cut(name), f"{name} is cut off") for name in CONFIGS),
    *((filled(name, "[]"), f"{name} is cut off, or no JSON object") for name in CONFIGS),
    *((filled(name, POINTER), f"{name} is a pointer of Git LFS") for name in OPENED),
    (gone("scheduler/scheduler_config.json"), "model_index.json names scheduler, which is missing"),
    (renamed("scheduler/scheduler_config.json", "config.json"), "scheduler has no scheduler_config.json"),
    (cut("tokenizer/spiece.model"), "tokenizer/spiece.model is no SentencePiece model, or is cut off"),
    (at_a_boundary, "tokenizer/spiece.model is cut off"),
    (filled("tokenizer/spiece.model", "<html>not found</html>"), "tokenizer/spiece.model is no SentencePiece model"),
    (filled("tokenizer/spiece.model", ""), "tokenizer/spiece.model is no SentencePiece model"),
    (filled("tokenizer/tokenizer.json", '{"model": {"vocab"'), "tokenizer/tokenizer.json is cut off"),
    (filled("tokenizer/tokenizer.json", "{}"), "tokenizer/tokenizer.json has no vocabulary"),
    (gone("tokenizer/spiece.model"), "tokenizer has no vocabulary"),
    (cut(TEXT), f"{TEXT} has "),
    (gone(TEXT), f"{TEXT_INDEX} names {Path(TEXT).name}, which is missing"),
    (cut(TEXT_INDEX), f"{TEXT_INDEX} has no weight_map"),
    (gone(TEXT_INDEX), "text_encoder has shards, and no model.safetensors.index.json"),
    (reindexed(misplaced), "lacks 1 tensors that text_encoder/model.safetensors.index.json says it holds, a.tensor."),
    (reindexed(forgotten), f"does not name 1 tensors of {Path(TEXT).name}"),
    (
        renamed("vae/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"),
        "vae has only a variant, diffusion_pytorch_model.fp16.safetensors",
    ),
    (
        renamed("vae/diffusion_pytorch_model.safetensors", "cogvideox_vae.safetensors"),
        "vae has no diffusion_pytorch_model.safetensors",
    ),
    (
        renamed("vae/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.part"),
        "vae/diffusion_pytorch_model.safetensors has not been downloaded to its end",
    ),
]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "cogvideox-1.5-5b"])
def test_each_published_checkpoint_is_whole(tmp_path: Path, name: str) -> None:
    model, like = PUBLISHED[name], FAMILIES[name.replace("cogvideox", "tiny")]
    layout.require_model(write(model, tmp_path / "model", small(model, like)))


def test_files_that_a_load_does_not_open_may_be_anything(copy: Path) -> None:
    layout.require_model(copy)
    (copy / "README.md").write_text(POINTER)
    (copy / "configuration.json").write_text("")
    (copy / "transformer" / "notes.part").write_text("")
    variant = "diffusion_pytorch_model.fp16.safetensors"
    shutil.copy(copy / "vae" / "diffusion_pytorch_model.safetensors", copy / "vae" / variant)
    layout.require_model(copy)


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES)
def test_what_a_load_could_not_open_is_said_by_name_by_the_doctor_and_by_verify(
    copy: Path, tmp_path: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    damage(copy)
    section = ModelSettings(family="cogvideox-1.5-5b", source=str(copy), accept_licence=True)
    finding = doctor.source_finding("model x", section, None, modelfiles.require_model)
    assert finding.health is Health.FAIL
    assert complaint in finding.detail
    with pytest.raises(ConfigError) as refused:
        modelfiles.verify(str(copy), tmp_path / "cache", S3Settings())
    assert complaint in str(refused.value)


def test_a_header_that_counts_tensors_twice_is_no_reason_to_read_them(copy: Path) -> None:
    """Only headers are read: a file whose tensors are holes is judged like any other."""
    name = copy / "vae" / "diffusion_pytorch_model.safetensors"
    size = name.stat().st_size
    with name.open("r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        file.truncate(8 + length)
        file.truncate(size)
    layout.require_model(copy)


def test_the_control_plane_judges_model_files_without_torch(copy: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workers import modelfiles\n"
        f"modelfiles.require_model(Path({str(copy)!r}))\n"
        "assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
