"""Model files from the Hugging Face Hub: one commit, what a pipeline is loaded from and no more, clear errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from orchestrator.commands import doctor
from orchestrator.commands.findings import Health
from orchestrator.config import ModelSettings, S3Settings
from orchestrator.domain.catalog import FAMILIES, TINY
from orchestrator.domain.errors import ConfigError
from tests.support.adapters import save_with_peft
from tests.support.fetching import fetching
from tests.support.hub import COMMIT, hub
from tests.support.models import PUBLISHED_AS, Checkpoint, family_of
from tests.support.sockets import free_port
from workers import modelfiles
from workers.cogvideox import loading
from workers.modelfiles import State, layout, locate, push, revision, verify

REPO = "someone/small-model"
URL = "/{repo_id}/resolve/{revision}/{filename}"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
DOCUMENTS = {".gitattributes", "LICENSE", "README.md", "README_zh.md"}
USELESS = DOCUMENTS | {"transformer/pytorch_model.bin", "all.safetensors"}


@pytest.fixture
def files(tiny_checkpoint: Checkpoint) -> dict[str, bytes]:
    """As the Hub has 2B, and what some repositories have beside it."""
    found = below(tiny_checkpoint("tiny-2b@published"))
    return found | {"transformer/pytorch_model.bin": b"pickled", "all.safetensors": b"all"}


def fetch(source: str, cache: Path, endpoint: str, **environment: str) -> tuple[str, str]:
    """The last line of output, and the errors, of a process that fetches `source`."""
    # The library reads its environment when it is imported.
    process = fetching(source, cache, S3Settings(), HF_ENDPOINT=endpoint, HF_HUB_DISABLE_XET="1", **environment)
    output, errors = process.communicate(timeout=120)
    return (output.splitlines() or [""])[-1], errors


def below(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("revision", ["", f"@{COMMIT}"])
def test_a_repository_comes_as_a_pipeline_needs_it_at_one_commit(
    tmp_path: Path, files: Mapping[str, bytes], revision: str
) -> None:
    with hub(REPO, files) as (endpoint, asked):
        path, errors = fetch(f"hf://{REPO}{revision}", tmp_path, endpoint)
        assert path, errors
        needed = {name for name in files if name not in USELESS}
        assert sorted(asked) == sorted(needed)
    got = below(Path(path))
    told = json.loads(got.pop(".manifest.json"))
    assert got == {name: files[name] for name in needed}
    assert (told["source"], told["revision"]) == (f"hf://{REPO}{revision}", COMMIT)
    # And again, where the Hub is out of reach.
    assert fetch(f"hf://{REPO}{revision}", tmp_path, endpoint)[0] == path


def test_weights_that_are_not_what_the_hub_announced_are_never_used(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    damaged = files[WEIGHTS][:-1] + bytes([files[WEIGHTS][-1] ^ 1])
    with hub(REPO, files, {WEIGHTS: damaged}) as (endpoint, _):
        _, errors = fetch(f"hf://{REPO}", tmp_path, endpoint)
    assert f"IntegrityError: hf://{REPO}: what comes is not what was announced: {WEIGHTS}" in errors
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


def test_one_file_of_a_repository_can_be_a_source(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    with hub(REPO, files) as (endpoint, asked):
        path, errors = fetch(f"hf://{REPO}/{WEIGHTS}@v1", tmp_path, endpoint)
        assert (asked, errors) == ([WEIGHTS], "")
    assert (Path(path) / WEIGHTS).read_bytes() == files[WEIGHTS]


@pytest.mark.parametrize("source", [f"hf://{REPO}", f"hf://{REPO}/style/adapter_model.safetensors"])
def test_an_adapter_that_peft_saved_comes_with_its_settings(
    tmp_path: Path, tiny_checkpoint: Checkpoint, source: str
) -> None:
    saved = below(save_with_peft(tmp_path / "saved", tiny_checkpoint("tiny-2b")))
    with hub(REPO, {**{f"style/{name}": data for name, data in saved.items()}, "README.md": b""}) as (endpoint, _):
        path, errors = fetch(source, tmp_path / "cache", endpoint)
    assert errors == ""
    layout.require_adapter(Path(path))
    names = ("adapter_config.json", "adapter_model.safetensors")
    assert below(Path(path) / "style") == {name: saved[name] for name in names}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("hf://someone/else", "there is no such repository, or HF_TOKEN may not read it"),
        (f"hf://{REPO}@v2", "the repository has no revision v2"),
        (f"hf://{REPO}/no.safetensors", "there is nothing to load in it"),
    ],
)
def test_what_cannot_be_had_is_said_with_the_source(
    tmp_path: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    with hub(REPO, files) as (endpoint, _):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        with pytest.raises(ConfigError) as refused:
            locate(source, tmp_path, S3Settings())
    assert str(refused.value) == f"{source}: {why}"


def test_a_node_that_is_told_to_be_offline_asks_nobody(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    with hub(REPO, files) as (endpoint, asked):
        _, errors = fetch(f"hf://{REPO}", tmp_path, endpoint, HF_HUB_OFFLINE="1")
    assert f"hf://{REPO} is not on this node, and HF_HUB_OFFLINE forbids to fetch it" in errors
    assert not asked


def test_a_hub_out_of_reach_is_given_up_after_some_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("workers.modelfiles.fetch._TRIES", 2)
    with pytest.raises(ConfigError, match=f"hf://{REPO} cannot be fetched: the Hub does not answer"):
        locate(f"hf://{REPO}", tmp_path, S3Settings())


@pytest.mark.parametrize("name", [f"{family.name}{PUBLISHED_AS}" for family in TINY])
def test_every_published_model_comes_from_the_hub_goes_on_to_s3_and_comes_back_the_same(
    tiny_checkpoint: Checkpoint, tmp_path: Path, s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whole at each place, by the doctor's own look too, and loaded at the last one."""
    original, family = tiny_checkpoint(name), FAMILIES[family_of(name)]
    files = below(original)
    needed = {path for path in files if "/" in path or path.endswith(".json")}
    far = f"s3://{s3_settings.bucket}/models/{family.name}"
    with hub(REPO, files) as (endpoint, asked):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + URL)
        fetched = locate(f"hf://{REPO}", tmp_path, s3_settings)
        assert sorted(asked) == sorted(needed)
    assert verify(f"hf://{REPO}", tmp_path, s3_settings).revision == COMMIT
    push(fetched, far, s3_settings)
    back = locate(far, tmp_path, s3_settings)
    assert verify(far, tmp_path, s3_settings).state is State.FETCHED
    assert {path: data for path, data in below(back).items() if not path.startswith(".")} == {
        path: files[path] for path in needed
    }
    assert len({revision(path, tmp_path) for path in (original, fetched, back)}) == 1
    found = doctor.source_finding(
        "model m", ModelSettings(family=family.name, source=str(back)), None, modelfiles.require_model
    )
    assert (found.health, found.detail) == (Health.OK, f"{back} is whole")
    pipeline = loading.load(back, family, torch.device("cpu"), torch.float32)
    assert pipeline.tokenizer("a watermill").input_ids[-1] == 1
