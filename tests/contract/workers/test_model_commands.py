"""`cogmill model`: what is configured comes to the node, is listed and verified; without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator import cli
from orchestrator.config import S3Settings, Settings
from tests.support.api import api_settings
from tests.support.fetching import write_weights
from tests.support.models import Checkpoint


@pytest.fixture
def settings(tmp_path: Path, tiny_checkpoint: Checkpoint, s3_settings: S3Settings) -> Settings:
    """A model and an adapter in S3, a model on the disk."""
    settings = api_settings("postgresql://unused", s3_settings)
    there = settings.models["tiny-2b"].model_copy(update={"source": str(tiny_checkpoint("tiny-2b"))})
    far = there.model_copy(update={"source": f"s3://{s3_settings.bucket}/models/small"})
    oil = {"source": f"s3://{s3_settings.bucket}/adapters/oil", "models": ["far"]}
    return Settings.model_validate(
        {
            **settings.model_dump(),
            "master_key": settings.master_key,
            "s3": s3_settings,
            "models": {"tiny-2b": there, "far": far},
            "pools": {"small": {"model": "tiny-2b"}, "other": {"model": "far"}},
            "adapters": {"oil": oil},
            "models_cache": tmp_path / "cache",
        }
    )


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr("orchestrator.cli.settings_of", lambda _: settings)
    return CliRunner()


def model(run: CliRunner, *arguments: str) -> Result:
    return run.invoke(cli.app, ["model", *arguments])


def test_what_is_pushed_is_fetched_listed_and_verified(
    run: CliRunner, settings: Settings, tmp_path: Path, tiny_checkpoint: Checkpoint
) -> None:
    write_weights(tmp_path / "oil" / "oil.safetensors", 1000)
    listed = model(run, "list").stdout.splitlines()
    assert [line.split()[:3] for line in listed] == [
        ["local", "model", "tiny-2b"], ["missing", "model", "far"], ["missing", "adapter", "oil"]
    ]  # fmt: skip
    pushed = model(run, "push", str(tiny_checkpoint("tiny-2b")), settings.models["far"].source)
    assert pushed.exit_code == 0, pushed.output

    fetched = model(run, "fetch", "--all")
    assert fetched.exit_code == 1
    assert f"adapter oil: FAIL {settings.adapters['oil'].source}: there is nothing to load below it" in fetched.stdout
    assert model(run, "push", str(tmp_path / "oil"), settings.adapters["oil"].source).exit_code == 0
    assert model(run, "fetch", "oil").exit_code == 0
    assert [line.split()[0] for line in model(run, "list").stdout.splitlines()] == ["local", "fetched", "fetched"]

    assert model(run, "verify", "--all").exit_code == 0
    config = next((tmp_path / "cache").glob("small-*/vae/config.json"))
    config.write_bytes(config.read_bytes() + b" ")
    verified = model(run, "verify", "--all")
    assert verified.exit_code == 1
    assert "model far: FAIL" in verified.stdout
    assert "not what was fetched: vae/config.json" in verified.stdout
    assert "adapter oil: " in verified.stdout
    assert "as it was fetched" in verified.stdout


def test_one_that_is_damaged_does_not_hide_the_others(
    run: CliRunner, settings: Settings, tmp_path: Path, tiny_checkpoint: Checkpoint
) -> None:
    model(run, "push", str(tiny_checkpoint("tiny-2b")), settings.models["far"].source)
    model(run, "fetch", "far")
    next((tmp_path / "cache").glob("small-*/.manifest.json")).write_bytes(b"{")
    listed = model(run, "list")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["local", "damaged", "missing"]
    assert ".manifest.json is no manifest" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["fetch"], "name models or adapters, or say --all"),
        (["fetch", "far", "--all"], "name models or adapters, or say --all"),
        (["verify", "nobody"], "'nobody' is no configured model or adapter: tiny-2b, far, oil"),
    ],
)
def test_names_that_mean_nothing_are_refused(run: CliRunner, arguments: list[str], why: str) -> None:
    assert str(model(run, *arguments).exception) == why


def test_listing_needs_no_torch() -> None:
    program = """
import sys
from pathlib import Path
from orchestrator.commands import models
from orchestrator.config import S3Settings
from workers import modelfiles
modelfiles.look("s3://bucket/model", Path("."), S3Settings())
sys.exit(", ".join({"torch", "diffusers", "ray"} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
