"""Settings are validated once, and every mistake is reported by the name of its key."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.capacity.plans import plans
from orchestrator.domain.campaign import StopRule
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
        ("COGMILL_API__MAX_BODIES_BYTES_PER_TENANT", f"{2**20}", "api.max_bodies_bytes_per_tenant must be at least"),
        ("COGMILL_FETCH__MAX_IMAGE_BYTES", f"{32 * 2**20}", "fetch.max_image_bytes"),
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
        ("[pools.gpu]", '[pools."gpu/spot"]', "pools.gpu/spot: its name must have no '/'"),
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
        ("[pools.gpu]", "[pools.gpu]\nprice_per_gpu_hour = -1", "pools.gpu.price_per_gpu_hour"),
        ("[pools.gpu]", "[pools.gpu]\nclosed_hours = ['Mon 8-9 UTC']", "'Mon 8-9 UTC' is not like"),
        ("[pools.gpu]", "[pools.gpu]\nclosed_hours = ['Mon 08:00-09:00 Nowhere']", "no time zone 'Nowhere'"),
        ("[pools.gpu]", "[campaigns]\ns3_inputs = ['/']\n[pools.gpu]", "campaigns.s3_inputs.0"),
        ("[pools.gpu]", "[campaigns]\ns3_inputs = ['a/../b/']\n[pools.gpu]", "campaigns.s3_inputs.0"),
        ("[pools.gpu]", "[campaigns]\ns3_outputs = ['exports/{job}/']\n[pools.gpu]", "campaigns.s3_outputs.0"),
        ("[pools.gpu]", "[billing]\ncurrency = 'euros'\n[pools.gpu]", "billing.currency"),
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


@pytest.fixture
def secrets(toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets as Kubernetes mounts them: names are links into a folder that is changed as a whole."""
    folder = tmp_path / "secrets"
    (folder / "..2026").mkdir(parents=True)
    (folder / "..data").symlink_to("..2026")
    for name, text in {"master_key": "of a file, and long\n", "s3__secret_key": "s3 secret"}.items():
        (folder / "..2026" / name).write_text(text)
        (folder / name).symlink_to(f"..data/{name}")
    monkeypatch.setenv("COGMILL_SECRETS_DIR", str(folder))
    monkeypatch.setenv("COGMILL_S3__ACCESS_KEY", "s3 key")
    return folder


def test_secrets_come_from_files_that_win_over_the_toml_file(secrets: Path) -> None:
    settings = config.load()

    assert settings.needed_ring.newest.key == "of a file, and long"
    assert settings.s3.secret_key is not None
    assert settings.s3.secret_key.get_secret_value() == "s3 secret"


def test_the_environment_wins_over_files_of_secrets(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_MASTER_KEY", "of the environment")

    assert config.load().needed_ring.newest.key == "of the environment"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("masterkey", "x", "COGMILL_SECRETS_DIR: masterkey is no key; known are adapters, "),
        ("s3__secretkey", "x", "s3.secretkey"),
        ("master_key", "short", "master_key"),
    ],
)
def test_a_wrong_file_of_a_secret_is_told_by_name(secrets: Path, name: str, content: str, told: str) -> None:
    (secrets / name).unlink(missing_ok=True)
    (secrets / name).write_text(content)
    assert told in complaint()


def test_a_folder_of_secrets_that_is_not_there_is_told_by_name(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_SECRETS_DIR", "/no/such")
    assert "COGMILL_SECRETS_DIR: /no/such cannot be read" in complaint()


def test_a_missing_file_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_CONFIG", "/no/such.toml")
    assert "/no/such.toml" in complaint()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("COGMILL_SHARED", "nonsense"),
        ("cogmill_shared", "nonsense"),
        ("COGMILL_SHARED__BOTH__POOLS", "gpu"),
        ("COGMILL_S3", '{"secret_key": "hidden"'),
    ],
)
def test_a_variable_that_is_no_json_is_told_by_name_without_its_value(
    toml: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("COGMILL_DATABASE_URL", value)  # of text, and no JSON either
    told = complaint()
    assert told.startswith(f"{variable} is no JSON: ")
    assert "COGMILL_CONFIG" not in told
    assert value not in told
    assert "hidden" not in told


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


def test_what_a_pool_costs_and_when_it_is_closed_makes_no_other_plan(toml: Path) -> None:
    (plan,) = plans(config.load()).values()
    keys = "price_per_gpu_hour = 2.5\ngpus_per_worker = 1\nclosed_hours = ['Sat,Sun 00:00-24:00 Europe/Berlin']"
    toml.write_text(TOML.replace("[pools.gpu]", f"[pools.gpu]\n{keys}"))
    (priced,) = plans(config.load()).values()
    assert (priced.settings.price_per_hour, len(priced.settings.closed.periods)) == (2.5, 1)
    assert priced.fingerprint == plan.fingerprint
    assert priced.settings.as_loaded == plan.settings.as_loaded
    assert "price" not in plan.settings.model_dump_json(), "the release before does not know it"


def test_a_worker_of_several_gpus_costs_as_many() -> None:
    assert config.PoolSettings(model="m", gpus_per_worker=4, price_per_gpu_hour=2.5).price_per_hour == 10.0


def test_work_is_reserved_at_what_it_costs_where_it_costs_most() -> None:
    kinds = {
        "slow": {"max": 1, "price_per_gpu_hour": 1.0, "speed": 0.25},
        "fast": {"max": 1, "price_per_gpu_hour": 3.0, "speed": 2.0},
    }
    pool = config.PoolSettings.model_validate({"model": "m", "gpus_per_worker": 2, "kinds": kinds})
    assert (pool.price_per_hour, pool.price_of_work) == (6.0, 8.0)
    unpriced = {**kinds, "own": {"max": 1}}
    assert config.PoolSettings.model_validate({"model": "m", "kinds": unpriced}).price_of_work is None
    assert config.PoolSettings(model="m", price_per_gpu_hour=2.5).price_of_work == 2.5


def test_a_campaign_that_says_nothing_of_failures_stops_when_half_of_the_first_twenty_failed() -> None:
    assert config.CampaignSettings().stop == StopRule(share=0.5, of_first=20)


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


def test_workers_without_keys_of_s3_are_told_none_and_fetch_no_model_from_it(toml: Path) -> None:
    toml.write_text(TOML.replace('path = "/models/small"', 'source = "s3://models/small"'))
    (keyed,) = plans(config.load()).values()
    assert "worker_" not in keyed.s3.model_dump_json(), "or the plans of every running worker would be others"
    toml.write_text(f'{toml.read_text()}\n[s3]\nworker_access = "presigned"\naccess_key = "a"\nsecret_key = "b"')
    with pytest.raises(ConfigError, match=r"models\.small\.source"):
        config.load()
    toml.write_text(toml.read_text().replace("s3://", "hf://"))
    (plan,) = plans(config.load()).values()
    assert (plan.s3.access_key, plan.s3.secret_key, plan.s3.worker_access) == (None, None, "presigned")


def test_the_master_key_and_the_s3_secret_are_in_no_text(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_S3__SECRET_KEY", "hush-hush")
    assert "sixteen" not in repr(config.load())
    assert "hush" not in repr(config.load())


# ------------------------------------------------------------ kinds of workers
KINDS = """
[pools.gpu.kinds.spot]
max = 20
price_per_gpu_hour = 1.0
may_vanish = true
resource = "spot"
[pools.gpu.kinds.firm]
min = 1
max = 5
price_per_gpu_hour = 3.0
"""


def add(toml: Path, more: str) -> None:
    toml.write_text(TOML + more)


def test_workers_of_a_kind_are_named_by_it_and_carry_its_resource(toml: Path) -> None:
    add(toml, KINDS.replace("max = 20", "max = 20\nmin = 2"))
    found = plans(config.load())
    assert {name: (plan.kind, plan.resource) for name, plan in found.items()} == {
        "gpu-spot-0": ("spot", "spot"),
        "gpu-spot-1": ("spot", "spot"),
        "gpu-firm-0": ("firm", None),
    }
    settings = config.load()
    assert (settings.pools["gpu"].least_workers, settings.pools["gpu"].most_workers) == (3, 25)
    assert settings.pools["gpu"].price_per_hour == 3.0
    assert settings.worker_prices == {("gpu", ""): 3.0, ("gpu", "spot"): 1.0, ("gpu", "firm"): 3.0}
    assert [settings.kind_of("gpu", name) for name in (*found, "gpu-0", "gpu-spot")] == ["spot", "spot", "firm", "", ""]


def test_kinds_are_no_worker_s_business(toml: Path) -> None:
    """Nothing of them is sent, so that workers of an earlier release can read the rest."""
    add(toml, KINDS)
    (plan,) = plans(config.load()).values()
    assert plan.settings.kinds == {}
    assert "kinds" not in plan.settings.model_dump_json()
    add(toml, KINDS.replace("3.0", "4.0").replace("max = 5", "max = 50"))
    (dearer,) = plans(config.load()).values()
    assert dearer.fingerprint == plan.fingerprint


def test_a_pool_without_kinds_has_the_plans_that_it_had(toml: Path) -> None:
    (plan,) = plans(config.load()).values()
    assert (plan.name, plan.kind, plan.resource) == ("gpu-0", None, None)
    old = object.__new__(type(plan))
    old.__setstate__([getattr(plan, item.name) for item in fields(plan)][:-3])  # as an earlier release pickles it
    assert (old, old.fingerprint) == (plan, plan.fingerprint)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (KINDS.replace("max = 20", "max = 20\nmost = 2"), "pools.gpu.kinds.spot.most"),
        (KINDS.replace("= 1.0", "= -1.0"), "pools.gpu.kinds.spot.price_per_gpu_hour"),
        (KINDS.replace("min = 1", "min = 6"), "pools.gpu.kinds.firm: min 6 is more than max 5"),
        (KINDS.replace('"spot"', '"spot nodes"'), "pools.gpu.kinds.spot.resource"),
        (KINDS.replace('"spot"', '"GPU"'), "'GPU' is a resource of Ray's own"),
        (KINDS.replace("max = 5", ""), "pools.gpu.kinds.firm.max"),
        (KINDS.replace("kinds.spot", 'kinds."Spot!"'), "pools.gpu.kinds"),
        ("workers = 3" + KINDS, "workers and kinds exclude each other"),
        ("max_gpus = 3", "max_gpus needs kinds"),
        ("max_gpus = 0" + KINDS, "max_gpus 0 is less than what min of the kinds takes"),
        ("max_money_per_hour = 2.5" + KINDS, "max_money_per_hour 2.5 is less than what min of the kinds costs"),
        (
            "max_money_per_hour = 9" + KINDS.replace("price_per_gpu_hour = 1.0", ""),
            "max_money_per_hour needs a price_per_gpu_hour of the kind spot",
        ),
        (KINDS + "[pools.gpu-spot]\nmodel = 'small'", "pools.gpu-spot: its workers would have the names of those of"),
        ("[autoscale]\nidel_s = 3", "autoscale.idel_s"),
        (KINDS.replace("max = 5", "max = -1"), "pools.gpu.kinds.firm.max"),
        (KINDS.replace("max = 5", "max = 5\nspeed = 0"), "pools.gpu.kinds.firm.speed"),
        (KINDS.replace("max = 5", "max = 5\nstart_s = -3"), "pools.gpu.kinds.firm.start_s"),
        (KINDS.replace('"spot"', '""'), "pools.gpu.kinds.spot.resource"),
        (KINDS.replace('"spot"', '"node:10.0.0.1"'), "pools.gpu.kinds.spot"),
        ("max_gpus = -1" + KINDS, "pools.gpu.max_gpus"),
        (KINDS + "[autoscale]\nmax_gpus = 0", "autoscale.max_gpus 0 is less than 1, what min of all kinds takes"),
        (
            KINDS + "[autoscale]\nmax_money_per_hour = 2",
            "autoscale.max_money_per_hour 2 is less than 3, what min of all kinds costs",
        ),
        (
            KINDS.replace("price_per_gpu_hour = 1.0", "") + "[autoscale]\nmax_money_per_hour = 9",
            "autoscale.max_money_per_hour needs pools.gpu.kinds.spot.price_per_gpu_hour",
        ),
    ],
)
def test_a_wrong_kind_is_told_by_name(toml: Path, wrong: str, told: str) -> None:
    toml.write_text(TOML.replace('[pools.gpu]\nmodel = "small"', f'[pools.gpu]\nmodel = "small"\n{wrong}'))
    assert told in complaint()
