"""The command line and the doctor: what they refuse, in which words, and with which exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click.testing
import pytest
import typer
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.commands import doctor
from orchestrator.commands.findings import Finding, Health
from orchestrator.config import AdapterSettings, ModelSettings
from orchestrator.domain.errors import StaleEpoch
from workers import modelfiles


class TestCommandLine:
    def test_help_loads_nothing_heavy(self) -> None:
        program = (
            "import sys; from orchestrator import cli; "
            "print([m for m in ('torch', 'ray', 'sqlalchemy', 'fastapi', 'boto3', 'pydantic') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

    def test_it_says_its_version(self) -> None:
        done = CliRunner().invoke(cli.app, ["--version"])
        assert (done.exit_code, done.stdout) == (0, f"cogmill {version('cogmill')}\n")

    def test_every_command_says_what_it_does_for_h_and_for_help(self) -> None:
        command = typer.main.get_command(cli.app)  # made once: Typer's own runner makes it for each call
        for path in _paths(command):
            short, long = (click.testing.CliRunner().invoke(command, [*path, option]) for option in ("-h", "--help"))
            assert (short.exit_code, long.exit_code) == (0, 0), path
            assert short.stdout == long.stdout
            assert "Usage:" in short.stdout

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_shells_are_given_a_script_that_completes_commands(self, shell: str) -> None:
        def cogmill(**environment: str) -> str:
            command = [str(Path(sys.executable).with_name("cogmill"))]
            return subprocess.run(
                command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
            ).stdout

        assert "_COGMILL_COMPLETE=complete_" + shell in cogmill(_COGMILL_COMPLETE=f"source_{shell}")
        if shell == "bash":
            offered = cogmill(_COGMILL_COMPLETE="complete_bash", COMP_WORDS="cogmill te", COMP_CWORD="1")
            assert offered.split() == ["tenants"]
        shown = CliRunner().invoke(cli.app, ["--help"]).stdout
        assert "--install-completion" in shown
        assert "--show-completion" in shown

    def test_a_dispatcher_that_was_taken_over_ends_with_one_line_and_a_code_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def taken_over() -> None:
            raise StaleEpoch("tiny-2b-0 was called by epoch 2; this is epoch 1")

        monkeypatch.setattr(cli, "app", taken_over)
        monkeypatch.setattr(sys, "argv", ["cogmill"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 3
        assert capsys.readouterr().err == (
            "cogmill: a newer dispatcher has taken over this cluster, so this one ends "
            "(tiny-2b-0 was called by epoch 2; this is epoch 1)\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["keys", "create", "a" * 65], "TENANT"),
            (["keys", "create", ""], "TENANT"),
            (["keys", "create", "acme\n"], "TENANT"),
            (["keys", "create", "a\x1bcme"], "TENANT"),
            (["keys", "create", "acme", "--name", "x" * 201], "--name"),
            (["keys", "create", "acme", "--name", "a\nb"], "--name"),
            (["tenants", "weight", "", "1"], "TENANT"),
            (["up", "--data-dir", ""], "--data-dir"),
            (["doctor", "--data-dir", ""], "--data-dir"),
            (["demo", "--out", ""], "--out"),
            (["model", "tiny", ""], "DIRECTORY"),
        ],
    )
    def test_an_argument_that_cannot_be_meant_is_refused_by_name(self, arguments: list[str], named: str) -> None:
        done = CliRunner().invoke(cli.app, arguments)
        assert done.exit_code == 2
        assert named in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["keys", "create", "\udcff"], "cogmill: the argument '\\udcff' is not UTF-8\n"),
            (["model", "tiny", "/proc/x"], "cogmill: cannot make /proc/x/tiny-2b-r2: No such file or directory\n"),
        ],
    )
    def test_what_cannot_be_used_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["cogmill", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code, capsys.readouterr().err) == (2, line)

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "cogmill: No space left on device\n"),
            (PermissionError(errno.EACCES, "Permission denied", "/x"), "cogmill: /x: Permission denied\n"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_one_line_whoever_meant_to(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, line: str
    ) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        monkeypatch.setattr(sys, "argv", ["cogmill"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code, capsys.readouterr().err) == (1, line)

    @pytest.mark.parametrize("option", ["--running", "--guaranteed"])
    @pytest.mark.parametrize("number", ["2147483648", "99999999999999999999", "9" * 5000, "-1"])
    def test_a_share_that_the_queue_cannot_hold_is_refused_by_name(self, option: str, number: str) -> None:
        done = CliRunner().invoke(cli.app, ["tenants", "share", "acme", "small", f"{option}={number}"])
        assert done.exit_code == 2
        assert option in done.stderr

    @pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "x"])
    def test_a_weight_that_is_no_share_is_refused_by_name(self, weight: str) -> None:
        done = CliRunner().invoke(cli.app, ["tenants", "weight", "--", "acme", weight])
        assert done.exit_code == 2
        assert "weight" in done.stderr.lower()

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            ({"COGMILL_CONFIG": "/nowhere.toml"}, "cogmill: COGMILL_CONFIG: no such file: /nowhere.toml\n"),
            ({"COGMILL_DATABASE_URL": "sqlite://"}, "cogmill: default_model: Field required"),
        ],
    )
    def test_a_wrong_setting_is_a_line_that_names_it_and_exit_code_2(
        self, environment: dict[str, str], expected: str, tmp_path: Path
    ) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "maintain"],
            env={"PATH": os.environ["PATH"], **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith(expected)
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("command", ["api", "maintain"])
    def test_who_deals_in_keys_says_when_there_is_no_master_key(self, command: str, tmp_path: Path) -> None:
        (tmp_path / "cogmill.toml").write_text(
            'database_url = "postgresql://127.0.0.1:1/none"\ndefault_model = "small"\n'
            'models.small = {family = "tiny-2b", source = "/models/small"}\npools.main = {model = "small"}\n'
        )
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", command],
            env={"PATH": os.environ["PATH"], "COGMILL_CONFIG": str(tmp_path / "cogmill.toml")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("cogmill: master_key: needed here, and not set")


def _paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that lead to each command, groups included."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from _paths(child, (*path, name))


HEADER = b'{"__metadata__": {"a": "b"}, "w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}'
TENSORS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)


def a_pipeline(path: Path) -> Path:
    """One that has a VAE and nothing else; its weights."""
    (path / "model_index.json").write_text('{"vae": ["diffusers", "X"]}')
    (path / "vae").mkdir()
    (path / "vae" / "config.json").write_text("{}")
    tensors = path / "vae" / "diffusion_pytorch_model.safetensors"
    tensors.write_bytes(TENSORS)
    return tensors


def checked(checkpoint: Path, ray_address: str | None) -> Finding:
    model = ModelSettings(family="tiny-2b", source=str(checkpoint))
    return doctor.source_finding("model m", model, ray_address, modelfiles.require_model)


class TestDoctor:
    """What it says of a checkpoint; the other parts it tries on a whole stack, in tests/acceptance."""

    @pytest.mark.parametrize(
        ("address", "health"),
        [
            (None, Health.FAIL),
            ("127.0.0.1:6379", Health.FAIL),
            ("localhost:6379", Health.FAIL),
            ("[::1]:6379", Health.FAIL),
            ("cogmill-head-svc:6379", Health.NOTE),
            ("10.0.0.7:6379", Health.NOTE),
        ],
    )
    def test_a_missing_one_is_a_failure_only_where_workers_share_this_disk(
        self, address: str | None, health: Health, tmp_path: Path
    ) -> None:
        assert checked(tmp_path / "nowhere", address).health is health

    def test_one_that_lacks_a_component_fails_wherever_ray_is(self, tmp_path: Path) -> None:
        a_pipeline(tmp_path)
        index = tmp_path / "model_index.json"
        index.write_text('{"vae": ["diffusers", "X"], "unet": ["diffusers", "Y"]}')
        found = checked(tmp_path, "elsewhere:6379")
        assert (found.health, "model_index.json names unet, which is missing" in found.detail) == (
            Health.FAIL, True,
        )  # fmt: skip
        assert found.line().startswith("FAIL  model m ")
        index.unlink()
        assert "no diffusers checkpoint" in checked(tmp_path, None).detail

    def test_what_workers_fetch_is_left_to_them(self) -> None:
        model = ModelSettings(family="tiny-2b", source="s3://models/tiny-2b")
        found = doctor.source_finding("model m", model, None, modelfiles.require_model)
        assert (found.health, "s3://models/tiny-2b" in found.detail) == (Health.NOTE, True)

    def test_an_adapter_without_weights_is_found(self, tmp_path: Path) -> None:
        lora = AdapterSettings(source=str(tmp_path), models=("m",))
        found = doctor.source_finding("adapter ink", lora, None, modelfiles.require_adapter)
        assert found.line().startswith("FAIL  adapter ink ")
        ink = tmp_path / "nested" / "ink.safetensors"
        ink.parent.mkdir()
        ink.write_bytes(TENSORS)
        found = doctor.source_finding("adapter ink", lora, None, modelfiles.require_adapter)
        assert (found.health, found.detail) == (Health.OK, f"{tmp_path} is whole")
        (tmp_path / "other.safetensors").write_bytes(TENSORS)
        found = doctor.source_finding("adapter ink", lora, None, modelfiles.require_adapter)
        assert (found.health, "2 safetensors" in found.detail) == (Health.FAIL, True), "nor could a worker tell"

    def test_what_cannot_be_read_is_said(self, tmp_path: Path) -> None:
        def require(path: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        lora = AdapterSettings(source=str(tmp_path), models=("m",))
        found = doctor.source_finding("adapter ink", lora, None, require)
        assert (found.health, "Permission denied" in found.detail) == (Health.FAIL, True)

    def test_tensors_that_are_cut_short_are_found(self, tmp_path: Path) -> None:
        tensors = a_pipeline(tmp_path)
        healths = {}
        for size in (len(TENSORS), len(TENSORS) - 1, 10, 0):
            tensors.write_bytes(TENSORS[:size])
            healths[size] = checked(tmp_path, None).health
        assert healths.pop(len(TENSORS)) is Health.OK
        assert set(healths.values()) == {Health.FAIL}
