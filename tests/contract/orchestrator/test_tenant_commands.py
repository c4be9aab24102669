"""`cogmill tenants`: limits and shares that are set, lifted and given back, and the lists that show which hold."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.commands.shares import over
from orchestrator.config import LimitSettings
from orchestrator.ports import Share
from tests.support.api import api_settings
from tests.support.logins import as_api


@pytest.fixture
def tenants(database_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    settings = api_settings(database_url).model_copy(update={"limits": LimitSettings(queued=100, running=8)})
    settings = as_api(settings)
    for module in ("tenants", "shares"):
        monkeypatch.setattr(f"orchestrator.commands.{module}.settings_of", lambda _: settings)
    return CliRunner()


def test_limits_are_set_lifted_and_given_back_one_by_one(tenants: CliRunner) -> None:
    def run(*arguments: str) -> str:
        done = tenants.invoke(cli.app, ["tenants", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    run("limit", "acme", "--queued", "5", "--requests-per-s", "0.5", "--running", "none")
    assert run("list") == (
        "acme  weight 1  requests-per-s 0.5  queued 5  running none  gpu-seconds-per-day (none)  "
        "largest-request (none)  most-urgent (10)\n"
    )
    run("weight", "acme", "2.5")
    run("limit", "acme", "--queued", "default", "--gpu-seconds-per-day", "1e4", "--largest-request", "60")
    assert run("list") == (
        "acme  weight 2.5  requests-per-s 0.5  queued (100)  running none  gpu-seconds-per-day 10000  "
        "largest-request 60  most-urgent (10)\n"
    )
    for said, shown in (("5", "5"), ("none", "0"), ("default", "(10)")):
        run("limit", "acme", "--most-urgent", said)
        assert run("list").endswith(f"  most-urgent {shown}\n")


def test_quotas_are_set_and_told_with_what_there_is(tenants: CliRunner) -> None:
    def run(*arguments: str) -> list[str]:
        done = tenants.invoke(cli.app, ["tenants", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    assert len(run("quotas", "acme")) == 7
    run("limit", "acme", "--files", "3", "--stored-bytes", "none", "--event-streams", "0")
    told = run("quotas", "acme")
    assert "files              0 of 3" in told
    assert "stored-bytes       0 no limit" in told
    assert "webhook-endpoints  0 of 20" in told
    (listed,) = run("list")
    assert listed.endswith("  files 3  stored-bytes none  event-streams 0")
    run("limit", "acme", "--files", "default")
    assert "files              0 of 100000" in run("quotas", "acme")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--queued", "-1"], ["--queued", "2.5"], ["--running", "many"], ["--running", "nan"], ["--queued", "inf"],
     ["--requests-per-s", "0"], ["--largest-request", "0"], ["--most-urgent", "101"], ["--most-urgent", "-1"],
     ["--most-urgent", "0.5"], ["--files", "0.5"], ["--stored-bytes", "-1"]],
)  # fmt: skip
def test_what_is_no_limit_is_refused_by_name(tenants: CliRunner, arguments: list[str]) -> None:
    done = tenants.invoke(cli.app, ["tenants", "limit", "acme", *arguments])
    assert done.exit_code == 2
    assert (arguments or ["--queued"])[0] in done.stderr


def test_shares_of_a_pool_are_set_shown_and_taken_away(tenants: CliRunner) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = tenants.invoke(cli.app, ["tenants", *arguments])
        return done.exit_code, done.stdout + done.stderr + str(done.exception or "")

    assert run("share", "acme", "small", "--guaranteed", "1")[0] == 0
    assert run("share", "acme", "small", "--running", "3")[0] == 0
    assert run("shares") == (0, "small  acme  guaranteed 1  running 3\n")
    code, said = run("share", "birch", "small", "--guaranteed", "1")
    assert (code, "pool small has 1 workers" in said, "2 would be guaranteed" in said) == (1, True, True)
    code, said = run("share", "acme", "small", "--running", "0")
    assert (code, "may run 0 jobs in pool small" in said) == (1, True)
    code, said = run("share", "acme", "large", "--running", "0")
    assert (code, "no pool 'large'" in said) == (1, True)
    assert run("share", "acme", "small")[0] == 2
    assert run("share", "acme", "small", "--running", "few")[0] == 2
    assert run("share", "acme", "small", "--running", "none", "--guaranteed", "0")[0] == 0
    assert run("shares") == (0, "")


def test_guarantees_above_a_pools_workers_are_told_by_name() -> None:
    shares = [Share(tenant=name, pool="small", guaranteed=2) for name in ("acme", "birch")]
    assert over("small", shares, 4) is None
    assert over("small", shares, 3) == (
        "pool small has 3 workers, and 4 are guaranteed: lower some, or raise pools.small.workers"
    )
    assert over("small", shares, None) == "there is no pool small, of which tenants have shares"
