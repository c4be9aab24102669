"""Settings are validated once, and every mistake is reported by the name of its key."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.capacity.plans import plans
from orchestrator.domain.catalog import Profile
from orchestrator.domain.errors import ConfigError, UnknownModel
from orchestrator.domain.protocol import Stage
from orchestrator.policy.cost import predict
from orchestrator.policy.watchdog import UPLOAD_TRIED_S
from tests.support.builders import a_spec

TOML = """
database_url = "postgresql://cogmill@localhost/cogmill"
master_key = "sixteen characters"
default_model = "small"
[models.small]
family = "tiny-2b"
path = "/models/small"
[pools.gpu]
model = "small"
[aliases]
"cogvideox-3" = "small"
"""


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cogmill.toml"
    path.write_text(TOML)
    monkeypatch.setenv("COGMILL_CONFIG", str(path))
    return path


def complaint() -> str:
    with pytest.raises(ConfigError) as caught:
        config.load()
    return str(caught.value)


def test_the_environment_wins_over_the_file(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_S3__BUCKET", "elsewhere")
    monkeypatch.setenv("COGMILL_DEFAULT_MODEL", "small")
    assert config.load().s3.bucket == "elsewhere"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("COGMILL_API__PORT", "90000", "api.port"),
        ("COGMILL_API__PROT", "80", "api.prot"),
        ("COGMILL_LEAES__TTL_S", "9", "COGMILL_LEAES__TTL_S"),
        ("COGMILL_RETENTION__JOBS_S", "inf", "retention.jobs_s"),
        ("COGMILL_RETENTION__JOBS_S", "1e300", "retention.jobs_s"),
        ("COGMILL_LEASE__TTL_S", "8", "ttl_s"),
        ("COGMILL_S3__PUBLIC_URL", "https://cdn.example/videos", "public_url"),
        ("COGMILL_S3__ENDPOINT_URL", "minio:9000", "endpoint_url"),
        ("COGMILL_DATABASE_URL", "mysql://x", "database_url"),
        ("COGMILL_DATABASE_URL", "postgresql://localhost:notaport/x", "database_url"),
        ("COGMILL_DATABASE_URL", "postgresql://localhost/x?channel_binding=require", "channel_binding"),
        ("COGMILL_MASTER_KEY", "short", "master_key"),
        ("COGMILL_DEFAULT_MODEL", "other", "default_model"),
        ("COGMILL_LOG__LEVEL", "loud", "log.level"),
        ("COGMILL_WATCHDOG__UPLOAD_S", f"{UPLOAD_TRIED_S}", "watchdog.upload_s: must be more than"),
    ],
)
def test_a_wrong_setting_is_told_by_name(
    toml: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert told in complaint()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('model = "small"', 'model = "large"', "pools.gpu.model"),
        ('"cogvideox-3" = "small"', '"cogvideox-3" = "large"', "aliases.cogvideox-3"),
        ('family = "tiny-2b"', 'family = "tiny-9b"', "models.small"),
        ('family = "tiny-2b"', 'family = "cogvideox-5b"', "accept_licence"),
        ("[pools.gpu]", "[pools.gpu]\nworker = 2", "pools.gpu.worker"),
        ("[pools.gpu]", "[models.idle]\nfamily = 'tiny-5b'\npath = '/x'\n[pools.gpu]", "models.idle"),
        ("[pools.gpu]", "[pools.gpu", "COGMILL_CONFIG"),
        ('path = "/models/small"', "", "models.small.source"),
        ('path = "/models/small"', 'source = "https://x/y"', "models.small.source"),
        ('path = "/models/small"', 'source = "s3://bucket"', "models.small.source"),
        ('path = "/models/small"', 'path = "/a"\nsource = "/b"', "source and path exclude each other"),
        ("[pools.gpu]", "[adapters.ink]\nsource = '/x'\nmodels = ['big']\n[pools.gpu]", "adapters.ink.models"),
        ("[pools.gpu]", "[adapters.ink]\nsource = '/x'\nmodels = []\n[pools.gpu]", "adapters.ink.models"),
        (
            "[pools.gpu]",
            "[adapters.ink]\nsource = '/x'\nmodels = ['small']\nscale = 5\n[pools.gpu]",
            "adapters.ink.scale",
        ),
        ("[pools.gpu]", "[pools.gpu]\nwarm_shapes = ['96x64']", "pools.gpu.warm_shapes.0"),
        ("[pools.gpu]", "[pools.gpu]\nwarm_shapes = ['96x64x10']", "pools.gpu.warm_shapes: tiny-2b renders no"),
        ("[pools.gpu]", "[pools.gpu]\nwarm_shapes = ['128x64x9']", "pools.gpu.warm_shapes: tiny-2b renders no"),
        ("[pools.gpu]", "[pools.gpu]\ngpus_per_worker = 2\nbatch_size = 2", "batch_size must be 1"),
        ("[pools.gpu]", "[pools.gpu]\ngpus_per_worker = 2\nquantization = 'fp8'", "quantization must be none"),
        ("[pools.gpu]", "[pools.gpu]\nprofiles = ['exact']\nquantization = 'int8'", "profiles cannot have exact"),
        ("[pools.gpu]", "[pools.gpu]\nprofiles = ['best']", "pools.gpu.profiles.0"),
        ("[pools.gpu]", "[pools.gpu]\ndtype = 'float8'", "pools.gpu.dtype"),
        ("[pools.gpu]", "[pools.gpu]\nquantization = 'fp8'", "pools.gpu.quantization fp8 needs dtype bfloat16"),
        (
            "[pools.gpu]",
            "[pools.gpu]\nquantization = 'fp8'\ndtype = 'float16'",
            "quantization fp8 needs dtype bfloat16, and tiny-2b would be loaded in float16",
        ),
        (
            'family = "tiny-2b"\npath = "/models/small"\n[pools.gpu]',
            'family = "tiny-1.5-5b"\npath = "/models/small"\n[pools.gpu]\ndtype = "float16"',
            "pools.gpu.dtype cannot be float16: tiny-1.5-5b",
        ),
        ('path = "/models/small"', 'path = "/a"\nsizes = ["96"]', "models.small.sizes.0"),
        (
            'path = "/models/small"',
            'path = "/a"\nsizes = ["720x480"]',
            "sizes has 720x480, and tiny-2b renders 96x64, 64x96",
        ),
        ("[pools.gpu]", "[engine]\ncheckpoint_every_s = -1\n[pools.gpu]", "engine.checkpoint_every_s"),
        ("[pools.gpu]", "[engine]\nquarantine_after = 0\n[pools.gpu]", "engine.quarantine_after"),
        ("[pools.gpu]", "[engine]\nnotice_s = inf\n[pools.gpu]", "engine.notice_s"),
    ],
)
def test_a_wrong_line_of_the_file_is_told_by_name(toml: Path, before: str, after: str, told: str) -> None:
    toml.write_text(TOML.replace(before, after))
    assert told in complaint()


def test_a_missing_file_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_CONFIG", "/no/such.toml")
    assert "/no/such.toml" in complaint()


def test_variables_that_kubernetes_sets_beside_us_are_let_be(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_API_SERVICE_HOST", "10.0.0.1")
    assert config.load().default_model == "small"


def test_a_licence_that_was_accepted_lets_the_model_load(toml: Path) -> None:
    toml.write_text(TOML.replace('family = "tiny-2b"', 'family = "cogvideox-5b"\naccept_licence = true'))
    assert config.load().family_of("small").name == "cogvideox-5b"


def test_models_are_found_by_name_or_alias_in_any_case(toml: Path) -> None:
    settings = config.load()
    assert {settings.resolve_model(name) for name in (None, "small", "SMALL", "CogVideoX-3")} == {"small"}
    assert settings.pool_of("small", Profile.EXACT) == "gpu"
    with pytest.raises(UnknownModel):
        settings.resolve_model("large")


def test_an_upload_that_waits_for_s3_gives_up_before_the_watchdog_takes_it_for_hung() -> None:
    """Where the worker's bound or the watchdog's usual one is changed alone, this tells."""
    usual = config.WatchdogSettings().patience
    uploading = usual.deadline_s(Stage.UPLOADING, step_s=0, render_s=0, finish_s=0)
    assert uploading > UPLOAD_TRIED_S
    assert config.WatchdogSettings(upload_s=usual.upload_s).upload_s == uploading


def test_shapes_to_compile_may_be_drafts(toml: Path) -> None:
    toml.write_text(TOML.replace("[pools.gpu]", "[pools.gpu]\nwarm_shapes = ['96x64x49', '64x48x9']"))
    assert config.load().pools["gpu"].warm_shapes == ("96x64x49", "64x48x9")


def test_a_model_is_offered_in_the_sizes_that_are_named_and_costs_what_it_did(toml: Path) -> None:
    whole = config.load().family_of("small")
    toml.write_text(TOML.replace('path = "/models/small"', 'path = "/models/small"\nsizes = ["160x96", "64x64"]'))
    settings = config.load()
    offered = settings.family_of("small")
    assert (offered.sizes, offered.default_size) == (((160, 96), (64, 64)), (160, 96))
    assert predict(offered, a_spec()) == predict(whole, a_spec()), "what a step costs is of the family's native size"
    (plan,) = plans(settings).values()
    assert plan.promised == offered
    assert plan.fingerprint != replace(plan, sizes=()).fingerprint


def test_a_dtype_makes_another_plan(toml: Path) -> None:
    (plan,) = plans(config.load()).values()
    toml.write_text(TOML.replace("[pools.gpu]", "[pools.gpu]\ndtype = 'bfloat16'"))
    (other,) = plans(config.load()).values()
    assert other.settings.dtype == "bfloat16"
    assert other.fingerprint != plan.fingerprint


def test_sections_that_an_older_release_has_pickled_have_the_usual_values_of_newer_keys(toml: Path) -> None:
    """A plan goes from a dispatcher to actors of another release."""
    pool = config.load().pools["gpu"]
    older = pool.model_copy()
    del older.__dict__["dtype"]
    assert pickle.loads(pickle.dumps(older)) == pool
    (plan,) = plans(config.load()).values()
    assert pickle.loads(pickle.dumps(plan)).fingerprint == plan.fingerprint, "or its worker would never be at rest"


def test_a_quantized_pool_renders_all_but_exact_and_what_it_is_told(toml: Path) -> None:
    toml.write_text(TOML.replace("[pools.gpu]", "[pools.gpu]\nquantization = 'int8'"))
    settings = config.load()
    assert settings.profiles_of("small") == (Profile.FAST, Profile.DRAFT)
    assert settings.pool_of("small", Profile.EXACT) is None


def test_a_source_is_a_directory_or_what_workers_fetch(toml: Path) -> None:
    assert config.load().models["small"].directory == Path("/models/small")
    for source in ("hf://zai-org/CogVideoX-2b@main", "s3://models/cogvideox-2b"):
        toml.write_text(TOML.replace('path = "/models/small"', f'source = "{source}"'))
        model = config.load().models["small"]
        assert (model.source, model.directory) == (source, None)


def test_the_master_key_and_the_s3_secret_are_in_no_text(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_S3__SECRET_KEY", "hush-hush")
    assert "sixteen" not in repr(config.load())
    assert "hush" not in repr(config.load())
