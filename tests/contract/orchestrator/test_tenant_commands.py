"""`cogmill tenants`: limits that are set, lifted and given back, and the list that shows which hold."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.config import LimitSettings
from tests.support.api import api_settings


@pytest.fixture
def tenants(database_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    settings = api_settings(database_url).model_copy(update={"limits": LimitSettings(queued=100, running=8)})
    monkeypatch.setattr("orchestrator.commands.tenants.settings_of", lambda _: settings)
    return CliRunner()


def test_limits_are_set_lifted_and_given_back_one_by_one(tenants: CliRunner) -> None:
    def run(*arguments: str) -> str:
        done = tenants.invoke(cli.app, ["tenants", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    run("limit", "acme", "--queued", "5", "--requests-per-s", "0.5", "--running", "none")
    assert run("list") == (
        "acme  weight 1  requests-per-s 0.5  queued 5  running none  gpu-seconds-per-day (none)  "
        "largest-request (none)\n"
    )
    run("weight", "acme", "2.5")
    run("limit", "acme", "--queued", "default", "--gpu-seconds-per-day", "1e4", "--largest-request", "60")
    assert run("list") == (
        "acme  weight 2.5  requests-per-s 0.5  queued (100)  running none  gpu-seconds-per-day 10000  "
        "largest-request 60\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [[], ["--queued", "-1"], ["--queued", "2.5"], ["--running", "many"], ["--running", "nan"], ["--queued", "inf"],
     ["--requests-per-s", "0"], ["--largest-request", "0"]],
)  # fmt: skip
def test_what_is_no_limit_is_refused_by_name(tenants: CliRunner, arguments: list[str]) -> None:
    done = tenants.invoke(cli.app, ["tenants", "limit", "acme", *arguments])
    assert done.exit_code == 2
    assert (arguments or ["--queued"])[0] in done.stderr
