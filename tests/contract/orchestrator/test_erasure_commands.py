"""`cogmill tenants erase`, and receipts that are shown and verified: here, and by the public key alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.campaigns.signing import Signer
from orchestrator.domain.receipt import Receipt, hashed
from orchestrator.store import Store
from tests.support.api import MASTER_KEY, api_settings

Run = Callable[..., str]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cogmill` with these arguments: what it prints."""
    for module in ("erasures", "manifest", "keys"):
        monkeypatch.setattr(f"orchestrator.commands.{module}.settings_of", lambda _: api_settings(database_url))

    def invoke(*arguments: str, code: int = 0, typed: str | None = None) -> str:
        done = CliRunner().invoke(cli.app, list(arguments), input=typed)
        assert done.exit_code == code, done.output
        return done.output + str(done.exception or "")

    return invoke


def end(database_url: str, tenant: str) -> str:
    """As the eraser ends an erasure; the receipt."""

    async def finish() -> str:
        async with Store.open(database_url) as store:
            round_ = await store.next_erasure(hold_s=60)
            assert round_ is not None
            closed = await store.close_tenant(round_)
            assert closed is not None
            receipt = Receipt(
                erasure=closed.id,
                salt="salt",
                tenant=hashed(tenant, "salt"),
                requested_at=closed.requested_at,
                requested_by=closed.requested_by,
                finished_at=round_.began_at,
                usage_kept=closed.keep_usage,
                erased=closed.erased,
            )
            text = Signer(MASTER_KEY).sign_receipt(receipt).text
            await store.finish_erasure(closed.id, finished_at=round_.began_at, receipt=text)
            return text

    return asyncio.run(finish())


def test_a_tenant_is_erased_once_its_name_was_written_and_the_receipt_is_shown_at_the_end(
    run: Run, database_url: str
) -> None:
    run("keys", "create", "acme")
    assert "must be the tenant's name" in run("tenants", "erase", "acme", typed="acme-2\n", code=1)
    assert "no tenant with the name 'nobody'" in run("tenants", "erase", "nobody", "--yes", code=1)
    assert len(run("tenants", "erasures").splitlines()) == 1
    erasure = run("tenants", "erase", "acme", typed="acme\n").split()[-1]
    assert run("tenants", "erase", "acme", "--yes").strip() == erasure
    assert f"{erasure} goes on already" in run("tenants", "erase", "acme", "--yes", "--keep-usage", code=1)
    assert "the tenant is being erased" in run("keys", "create", "acme", code=1)
    assert "the erasure goes on" in run("receipts", "show", erasure, code=1)
    assert run("tenants", "erasures").splitlines()[1].split()[:2] == [erasure, "acme"]

    text = end(database_url, "acme")
    assert run("tenants", "erase", "acme", "--yes", code=1).endswith("no tenant with the name 'acme'")
    assert run("receipts", "show", erasure) == text
    assert run("tenants", "erasures").splitlines()[1].split()[:2] == [erasure, "-"]
    assert run("keys", "create", "acme").startswith("cgm_")


def test_who_waits_is_given_the_receipt(run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("keys", "create", "acme")
    ended: list[str] = []
    look = SimpleNamespace(sleep=lambda seconds: ended.append(end(database_url, "acme")))
    monkeypatch.setattr("orchestrator.commands.erasures.time", look)
    told = run("tenants", "erase", "acme", "--yes", "--wait")
    assert told.endswith(ended[0])
    assert told.startswith("erasure_")


def test_a_receipt_is_verified_offline_and_against_a_name(run: Run, database_url: str, tmp_path: Path) -> None:
    run("keys", "create", "acme")
    run("tenants", "erase", "acme", "--yes")
    receipt, public = tmp_path / "receipt.json", tmp_path / "jwks.json"
    receipt.write_text(end(database_url, "acme"))
    public.write_text(json.dumps(Signer(MASTER_KEY).jwks))
    for options in ((), ("--jwks", str(public)), ("--tenant", "acme")):
        assert "is genuine" in run("receipts", "verify", str(receipt), *options)
    assert "another tenant's than acme-2" in run("receipts", "verify", str(receipt), "--tenant", "acme-2", code=1)
    # The same JSON in another layout is the same receipt.
    receipt.write_text(json.dumps(json.loads(receipt.read_text()), indent=2))
    assert "is genuine" in run("receipts", "verify", str(receipt))
    receipt.write_text(receipt.read_text().replace('"usage": "erased"', '"usage": "kept"'))
    assert "not of this receipt" in run("receipts", "verify", str(receipt), code=1)
    for nothing in ("{}", "[", '{"object": "tenant.erasure_receipt.signed", "algorithm": "Ed25519"}'):
        receipt.write_text(nothing)
        assert "is not genuine" in run("receipts", "verify", str(receipt), code=1)
