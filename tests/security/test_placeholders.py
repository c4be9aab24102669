"""A secret that still says what an example said in its place: every process refuses it by its name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.config.clusters import load_clusters
from orchestrator.domain.errors import ConfigError
from tests.support.sources import ROOT

TOML = (
    'default_model = "m"\n[models.m]\nfamily = "tiny-2b"\npath = "/m"\n[pools.p]\nmodel = "m"\n'
    '[s3]\naccess_key = "access"\nsecret_key = "secret"\n'
)
CHANGE = "change-me-to-32-characters-or-more"
WELL = {"COGMILL_DATABASE_URL": "postgresql://u:chosen@h/x", "COGMILL_MASTER_KEY": "k" * 32}
REFUSED = {
    "database_url": {"COGMILL_DATABASE_URL": "postgresql://u:change-me@h/x"},
    "listen_url": {"COGMILL_LISTEN_URL": "postgresql://u:ChangeMe@h/x"},
    "master_key": {"COGMILL_MASTER_KEY": CHANGE},
    "s3.access_key": {"COGMILL_S3__ACCESS_KEY": "CHANGE_ME"},
    "s3.secret_key": {"COGMILL_S3__SECRET_KEY": "change-me"},
    "s3.signing_secret_key": {"COGMILL_S3__SIGNING_ACCESS_KEY": "a", "COGMILL_S3__SIGNING_SECRET_KEY": "change me"},
    "fetch.proxy_url": {"COGMILL_FETCH__PROXY_URL": "http://u:change-me@proxy:3128"},
    "limits.storage": {"COGMILL_LIMITS__STORAGE": "redis://:change-me@redis"},
    "metrics.token": {"COGMILL_METRICS__TOKEN": CHANGE},
    "RAY_AUTH_TOKEN": {"RAY_AUTH_TOKEN": CHANGE},
}


@pytest.fixture(autouse=True)
def well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cogmill.toml"
    path.write_text(TOML)
    for name, value in (WELL | {"COGMILL_CONFIG": str(path)}).items():
        monkeypatch.setenv(name, value)
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", REFUSED)
def test_a_process_that_reads_a_placeholder_names_the_setting_and_not_its_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.load()
    for variable, value in REFUSED[name].items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as refused:
        config.load()
    assert str(refused.value).startswith(f"{name} is still the placeholder of an example (change-me)")
    # Of a longer one the rest may be somebody's.
    assert not [value for value in REFUSED[name].values() if len(value) > 12 and value in str(refused.value)]


def test_so_does_one_whose_secrets_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("COGMILL_SECRETS_DIR", str(folder))
    (folder / "s3__secret_key").write_text("change-me\n")
    with pytest.raises(ConfigError, match=r"^s3\.secret_key is still"):
        config.load()
    (folder / "s3__secret_key").write_text("chosen\n")
    token = tmp_path / "token"
    token.write_text(CHANGE)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with pytest.raises(ConfigError, match=r"^RAY_AUTH_TOKEN_PATH is still"):
        config.load()


def test_so_does_the_controller_of_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_CLUSTERS__OWNER", "o")
    monkeypatch.setenv("COGMILL_CLUSTERS__TEMPLATE", "t")
    load_clusters()
    monkeypatch.setenv("COGMILL_DATABASE_URL", "postgresql://cogmill_clusters:change-me@h/x")
    with pytest.raises(ConfigError, match="database_url is still"):
        load_clusters()


def test_a_word_within_another_is_no_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_DATABASE_URL", "postgresql://u:interchangement@exchange-media.example/x")
    assert config.load().database_url.endswith("/x")


def test_the_script_that_makes_composes_secrets_takes_none_over(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((ROOT / "deploy" / "secrets.sh").read_bytes())
    (tmp_path / ".env").write_text('S3_SECRET_KEY="change-me"\n')
    run = subprocess.run(["sh", script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "S3_SECRET_KEY is still the placeholder" in run.stderr
    assert not (tmp_path / "secrets" / "s3_secret_key").exists()
