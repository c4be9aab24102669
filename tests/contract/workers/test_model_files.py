"""Model files on a node: fetched whole and verified, or not used at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError, IntegrityError, NotFound
from tests.support.adapters import save_with_peft
from tests.support.models import Checkpoint
from tests.support.s3 import S3Server
from workers.modelfiles import Progress, State, layout, locate, look, push, verify
from workers.modelfiles.fetch import place, under_construction
from workers.modelfiles.progress import Doing


@pytest.fixture
def checkpoint(tiny_checkpoint: Checkpoint) -> Path:
    return tiny_checkpoint("tiny-2b")


@pytest.fixture
def source(s3_settings: S3Settings) -> str:
    return f"s3://{s3_settings.bucket}/models/small"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def contents(directory: Path) -> dict[str, bytes]:
    """All files but hidden ones."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def copy_unannounced(directory: Path, objects: S3Objects, prefix: str = "models/small/") -> None:
    """As `aws s3 sync` would upload it: without a manifest."""
    for name in contents(directory):
        objects.upload(prefix + name, directory / name, "application/octet-stream")


def test_a_directory_is_used_as_it_is(checkpoint: Path, cache: Path, s3_settings: S3Settings) -> None:
    assert locate(str(checkpoint), cache, s3_settings) == checkpoint
    assert look(str(checkpoint), cache, s3_settings).state is State.LOCAL
    with pytest.raises(ConfigError, match="no such file or directory on this node"):
        locate("/no/such/model", cache, s3_settings)
    assert not cache.exists()


def test_what_was_pushed_comes_back_the_same_and_needs_s3_only_once(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str
) -> None:
    said: list[Progress] = []
    assert look(source, cache, s3_settings).state is State.MISSING
    published = push(checkpoint, source, s3_settings)
    path = locate(source, cache, s3_settings, on_progress=said.append)
    assert contents(path) == contents(checkpoint)
    assert {progress.doing for progress in said} == {Doing.FETCHING, Doing.VERIFYING}
    assert said[-1].done == said[-1].total == published.size
    found = verify(source, cache, s3_settings)
    assert (found.state, found.path, found.revision) == (State.FETCHED, path, published.revision)
    away = s3_settings.model_copy(update={"max_attempts": 1, "access_key": "wrong"})
    assert locate(source, cache, away) == path


def test_a_prefix_without_a_manifest_is_fetched_by_sizes_and_checked_for_wholeness(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str
) -> None:
    objects = S3Objects(s3_settings)
    copy_unannounced(checkpoint, objects)
    for useless in ("flax_model.msgpack", "transformer/diffusion_pytorch_model.bin", "everything.safetensors"):
        objects.put(f"models/small/{useless}", b"the same again in another form", "application/octet-stream")
    assert contents(locate(source, cache, s3_settings)) == contents(checkpoint)
    assert look(source, cache, s3_settings).state is State.FETCHED
    assert verify(source, cache, s3_settings).revision


def test_a_prefix_that_lacks_a_part_is_refused_by_its_name(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str
) -> None:
    objects = S3Objects(s3_settings)
    copy_unannounced(checkpoint, objects)
    weights = "vae/diffusion_pytorch_model.safetensors"
    objects.put(f"models/small/{weights}", (checkpoint / weights).read_bytes()[:-1], "application/octet-stream")
    objects.delete([f"models/small/{name}" for name in contents(checkpoint) if name.startswith("tokenizer/")])
    with pytest.raises(ConfigError) as refused:
        locate(source, cache, s3_settings)
    assert "tokenizer, which is missing" in str(refused.value)
    assert f"{weights} has" in str(refused.value)
    assert look(source, cache, s3_settings).state is State.PARTIAL


@pytest.mark.parametrize(
    ("gone", "complaint"),
    [
        ("model_index.json", "model_index.json is missing"),
        ("tokenizer/tokenizer.json", "tokenizer has no vocabulary"),
        ("transformer/diffusion_pytorch_model.safetensors", "transformer has no safetensors"),
        ("text_encoder/model.safetensors", "text_encoder has no safetensors"),
        ("vae/config.json", "vae has no config.json"),
    ],
)
def test_a_prefix_that_is_still_being_filled_is_not_kept(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str, gone: str, complaint: str
) -> None:
    objects = S3Objects(s3_settings)
    copy_unannounced(checkpoint, objects)
    objects.delete([f"models/small/{gone}"])
    with pytest.raises(ConfigError, match=complaint):
        locate(source, cache, s3_settings)
    objects.upload(f"models/small/{gone}", checkpoint / gone, "application/octet-stream")
    assert contents(locate(source, cache, s3_settings)) == contents(checkpoint)


def test_what_was_fetched_can_be_pushed_on(checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str) -> None:
    push(checkpoint, source, s3_settings)
    push(locate(source, cache, s3_settings), f"{source}-copy", s3_settings)
    assert contents(locate(f"{source}-copy", cache, s3_settings)) == contents(checkpoint)
    assert verify(f"{source}-copy", cache, s3_settings).state is State.FETCHED


def test_a_push_follows_no_links_to_directories(
    checkpoint: Path, tmp_path: Path, s3_settings: S3Settings, source: str
) -> None:
    shutil.copytree(checkpoint, linked := tmp_path / "linked")
    shutil.move(linked / "vae", tmp_path / "vae")
    (linked / "vae").symlink_to(tmp_path / "vae")
    layout.require_whole(linked)
    with pytest.raises(ConfigError, match="linked/vae is a link to a directory"):
        push(linked, source, s3_settings)


def test_an_object_that_is_not_what_was_announced_is_never_used(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, s3_server: S3Server, source: str
) -> None:
    push(checkpoint, source, s3_settings)
    weights = "transformer/diffusion_pytorch_model.safetensors"
    stored = s3_server.file(s3_settings, f"models/small/{weights}")
    good = stored.read_bytes()
    stored.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=weights):
        locate(source, cache, s3_settings)
    assert not place(source, cache, s3_settings).exists()
    stored.write_bytes(good)
    assert contents(locate(source, cache, s3_settings)) == contents(checkpoint)


def test_what_an_earlier_fetch_left_is_taken_up_and_what_it_damaged_is_fetched_again(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, s3_server: S3Server, source: str
) -> None:
    push(checkpoint, source, s3_settings)
    weights = "transformer/diffusion_pytorch_model.safetensors"
    stored = s3_server.file(s3_settings, f"models/small/{weights}")
    good = stored.read_bytes()
    stored.write_bytes(good[::-1])
    with pytest.raises(IntegrityError):
        locate(source, cache, s3_settings)
    stored.write_bytes(good)
    partial = under_construction(place(source, cache, s3_settings))
    (partial / weights).write_bytes(good[:1000])
    for name in ("vae/config.json", "text_encoder/model.safetensors"):
        (partial / name).write_bytes(b"x" * (partial / name).stat().st_size)
    fetched = partial / "scheduler/scheduler_config.json"
    inode = fetched.stat().st_ino
    path = locate(source, cache, s3_settings)
    assert contents(path) == contents(checkpoint)
    assert (path / "scheduler/scheduler_config.json").stat().st_ino == inode


def test_a_fetch_begun_for_other_content_starts_over(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str, tiny_checkpoint: Checkpoint
) -> None:
    objects = S3Objects(s3_settings)
    partial = under_construction(place(source, cache, s3_settings))
    (partial / "transformer").mkdir(parents=True)
    (partial / ".listing.json").write_bytes(b"of something else")
    (partial / "transformer" / "left_over.safetensors").write_bytes(b"of something else")
    copy_unannounced(checkpoint, objects)
    assert contents(locate(source, cache, s3_settings)) == contents(checkpoint)


def test_a_manifest_that_leads_out_of_the_cache_is_refused(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str
) -> None:
    published = push(checkpoint, source, s3_settings)
    objects = S3Objects(s3_settings)
    outside = ("../outside.json", "/etc/outside.json", "transformer/../../outside.json", "a//b.json", "a\\b.json")
    for name in (*outside, ".listing.json", "vae/.hidden.json", ""):
        document = json.loads(published.to_json())
        document["files"] = {name: {"size": 3, "sha256": None}}
        objects.put("models/small/manifest.json", json.dumps(document).encode(), "application/json")
        with pytest.raises(ConfigError, match="no plain path"):
            locate(source, cache, s3_settings)
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": 2, "source": "s", "revision": "r", "files": {}}',
        b'{"format": 1, "source": "s", "revision": "r", "files": {"a.json": 1}}',
    ],
)
def test_a_broken_manifest_is_said_to_be_one(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str, data: bytes
) -> None:
    S3Objects(s3_settings).put("models/small/manifest.json", data, "application/json")
    with pytest.raises(ConfigError, match=r"manifest.json is no manifest"):
        locate(source, cache, s3_settings)


def test_a_push_publishes_only_what_is_whole_and_only_once(
    checkpoint: Path, tmp_path: Path, s3_settings: S3Settings, source: str
) -> None:
    half = tmp_path / "half"
    (half / "vae").mkdir(parents=True)
    (half / "model_index.json").write_bytes((checkpoint / "model_index.json").read_bytes())
    with pytest.raises(ConfigError, match="transformer, which is missing"):
        push(half, source, s3_settings)
    with pytest.raises(ConfigError, match="no directory"):
        push(tmp_path / "none", source, s3_settings)
    with pytest.raises(NotFound):
        S3Objects(s3_settings).get("models/small/model_index.json")
    push(checkpoint, source, s3_settings)
    with pytest.raises(ConfigError, match="taken"):
        push(checkpoint, source, s3_settings)


def test_one_file_of_a_prefix_can_be_a_source(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str
) -> None:
    weights = (checkpoint / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    for name in ("oil", "ink"):
        S3Objects(s3_settings).put(f"styles/{name}.safetensors", weights, "application/octet-stream")
    path = locate(f"s3://{s3_settings.bucket}/styles/oil.safetensors", cache, s3_settings)
    assert contents(path) == {"oil.safetensors": weights}


def test_an_adapter_that_peft_saved_is_one_with_its_settings(
    tmp_path: Path, tiny_checkpoint: Checkpoint, cache: Path, s3_settings: S3Settings, source: str
) -> None:
    """As a directory, pushed and fetched, and as its one file of an unannounced prefix; settings cut off are said."""
    directory = save_with_peft(tmp_path / "style", tiny_checkpoint("tiny-2b"))
    (directory / "optimizer.safetensors").write_bytes((directory / "adapter_model.safetensors").read_bytes())
    config = (directory / "adapter_config.json").read_bytes()
    push(directory, source, s3_settings)
    copy_unannounced(directory, S3Objects(s3_settings), "styles/peft/")
    one = f"s3://{s3_settings.bucket}/styles/peft/adapter_model.safetensors"
    for path in (directory, *(locate(it, cache, s3_settings) for it in (source, one))):
        layout.require_adapter(path)
        assert layout.adapter_file(path) == path / "adapter_model.safetensors"
        assert contents(path)["adapter_config.json"] == config
        assert layout.adapter_file(path / "adapter_model.safetensors") == path / "adapter_model.safetensors"
        layout.require_adapter(path / "adapter_model.safetensors")
    assert verify(one, cache, s3_settings).state is State.FETCHED

    (directory / "adapter_config.json").write_bytes(config[:-3])
    for cut in (directory, directory / "adapter_model.safetensors"):
        with pytest.raises(ConfigError, match=r"adapter_config\.json is no JSON object"):
            layout.require_adapter(cut)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("ftp://host/model", "neither a directory"),
        ("s3://bucket", "must be s3://bucket/prefix"),
        ("s3:///prefix", "must be s3://bucket/prefix"),
        ("hf://only-a-name", "must be hf://organisation/name@revision"),
        ("hf://a/b@../../c d", "must be hf://organisation/name@revision"),
    ],
)
def test_a_source_that_names_nothing_is_refused(cache: Path, s3_settings: S3Settings, wrong: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        locate(wrong, cache, s3_settings)


def test_an_empty_prefix_is_refused(cache: Path, s3_settings: S3Settings, source: str) -> None:
    with pytest.raises(ConfigError, match="nothing to load below it"):
        locate(source, cache, s3_settings)


def test_verifying_names_what_changed_since(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, source: str
) -> None:
    with pytest.raises(ConfigError, match="not on this node"):
        verify(source, cache, s3_settings)
    push(checkpoint, source, s3_settings)
    path = locate(source, cache, s3_settings)
    (path / "vae" / "config.json").write_bytes(b"{}")
    (path / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(IntegrityError) as found:
        verify(source, cache, s3_settings)
    assert "missing: scheduler/scheduler_config.json" in str(found.value)
    assert "not what was fetched: vae/config.json" in str(found.value)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _long(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _garbled(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"!" + data[9:])


def _huge_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def _a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def _a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [_cut, _long, _garbled, _huge_header, _empty, _a_link_to_nothing, _a_directory, Path.unlink]
)
def test_a_directory_whose_weights_are_damaged_is_not_whole(
    checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    layout.require_whole(copy)
    weights = copy / "text_encoder" / "model.safetensors"
    index = {"weight_map": {"shared.weight": "model.safetensors"}}
    (copy / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))
    layout.require_whole(copy)
    damage(weights)
    with pytest.raises(ConfigError, match=r"text_encoder.*model\.safetensors"):
        layout.require_whole(copy)
