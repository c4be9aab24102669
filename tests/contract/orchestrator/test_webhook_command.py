"""`cogmill webhooks` on a real database."""

from __future__ import annotations

import json
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from tests.support.postgres import Server

DELIVERY = UUID(int=7)


@pytest.fixture
def _deployment(postgres_server: Server, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the environment, and one delivery that was given up."""
    for name, value in {
        "DATABASE_URL": database_url,
        "MASTER_KEY": "sixteen characters",
        "DEFAULT_MODEL": "tiny",
        "MODELS": json.dumps({"tiny": {"family": "tiny-2b", "source": "/models/tiny"}}),
        "POOLS": json.dumps({"small": {"model": "tiny"}}),
    }.items():
        monkeypatch.setenv(f"COGMILL_{name}", value)
    monkeypatch.delenv("COGMILL_CONFIG", raising=False)
    postgres_server.execute(
        "INSERT INTO deliveries (id, event_id, tenant, url, host, event_type, body, state, attempts, give_up_at, "
        f"ended_at, last_error) VALUES ('{DELIVERY}', 'evt_1', 'acme', 'https://example.com/hook', 'example.com', "
        "'video.failed', '{}', 'failed', 28, cogmill_now(), cogmill_now(), 'the receiver answered 503')",
        urlsplit(database_url).path[1:],
    )


def cogmill(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["webhooks", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("_deployment")
def test_an_operator_lists_what_was_given_up_and_sends_it_again() -> None:
    line = cogmill("list", "acme", "--state", "failed")
    assert line.startswith(f"whd_{DELIVERY.hex}  acme")
    assert line.endswith("failed  28 tries  https://example.com/hook  the receiver answered 503\n")
    assert cogmill("list", "other") == ""
    cogmill("resend", f"whd_{DELIVERY.hex}")
    assert cogmill("list", "--state", "failed") == ""
    assert "pending  0 tries" in cogmill("list")


@pytest.mark.usefixtures("_deployment")
def test_what_is_no_delivery_is_not_sent_again() -> None:
    assert CliRunner().invoke(cli.app, ["webhooks", "resend", "whd_1"]).exit_code == 2
    missing = CliRunner().invoke(cli.app, ["webhooks", "resend", f"whd_{UUID(int=8).hex}"])
    assert "no such delivery" in str(missing.exception)
