"""The doctor where nothing answers: every check ends, with one line of ours; and what it tells of pools."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orchestrator.commands import doctor, doctor_database, findings, rayprobe
from orchestrator.commands.findings import Finding, Health
from orchestrator.config import OidcSettings, S3Settings, Settings
from orchestrator.config.masters import MasterKeySettings
from orchestrator.domain.errors import WorkerUnreachable
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.store import Store
from tests.support.api import CLUSTER, POOL, api_settings
from tests.support.issuer import JWKS, issuing
from tests.support.swapping import shared_settings
from workers import modelfiles


@pytest.fixture
def holes() -> Iterator[list[int]]:
    """Ports that accept and never answer."""
    with ExitStack() as held:

        def accept(listener: socket.socket) -> None:
            while True:
                try:
                    held.callback(listener.accept()[0].close)
                except OSError:
                    return

        ports = []
        for _ in range(3):
            listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports.append(listener.getsockname()[1])
            thread = threading.Thread(target=accept, args=(listener,), daemon=True)
            thread.start()
            held.callback(thread.join)
            held.callback(listener.shutdown, socket.SHUT_RDWR)
        yield ports


def settings_at(database: str, s3: S3Settings, ray: str, source: Path) -> Settings:
    told = api_settings(database, s3).model_dump()
    return Settings.model_validate(
        told | {"ray": {"address": ray}, "models": {"tiny-2b": {"family": "tiny-2b", "source": str(source)}}}
    )


def test_every_check_ends_within_its_bound_where_nothing_answers(
    holes: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In threads and in a process that are left behind: with bounds below those of every client library."""
    monkeypatch.setattr(findings, "WITHIN_S", 0.5)
    monkeypatch.setattr(rayprobe, "WITHIN_S", 3.0)
    s3 = S3Settings(endpoint_url=f"http://127.0.0.1:{holes[1]}", access_key="a", secret_key="b")
    settings = settings_at(f"postgresql://u:p@127.0.0.1:{holes[0]}/d", s3, f"127.0.0.1:{holes[2]}", tmp_path)
    found = list(doctor.examine(settings, rayprobe.probe, modelfiles))
    assert [finding.part for finding in found] == ["database", "bucket", "ray", "gpus", "model tiny-2b"]
    for finding in found:
        assert finding.health is Health.FAIL
        assert "\n" not in finding.line()
    assert [finding.detail for finding in found[:3]] == [
        "no answer within 0.5 s",
        "no answer within 0.5 s",
        f"no Ray cluster has answered at 127.0.0.1:{holes[2]} within 3 s",
    ]
    assert capfd.readouterr() == ("", ""), "Ray's own lines"


def test_it_asks_each_issuer_of_peoples_tokens_for_its_keys() -> None:
    with issuing() as issuer:
        settings = OidcSettings(issuer=issuer.url, audience=("cogmill",), tenant="acme", everybody=("usual",))
        found = doctor.issuer_finding("corp", settings)
        assert (found.health, found.detail) == (Health.OK, "shows 1 public keys")
        issuer.instead[JWKS] = (200, b'{"keys": []}')
        assert doctor.issuer_finding("corp", settings).health is Health.FAIL
    found = doctor.issuer_finding("corp", settings)
    assert found.health is Health.FAIL
    assert "oidc.corp" in found.line()


def test_a_cluster_that_cannot_be_joined_is_one_line_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkerUnreachable, match="no Ray cluster can be joined at nonsense"):
        rayprobe.probe("nonsense", within_s=60)
    assert capfd.readouterr() == ("", "")


def test_what_no_check_foresaw_ends_that_check_alone(
    holes: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(*_: object) -> str:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(doctor_database, "_database", breaks)
    monkeypatch.setattr(doctor, "_bucket", breaks)
    settings = settings_at("postgresql://u:p@127.0.0.1:1/d", S3Settings(), "127.0.0.1:1", tmp_path)
    found = list(doctor.examine(settings, rayprobe.probe, modelfiles))
    assert [finding.detail for finding in found[:2]] == ["RuntimeError: two lines"] * 2
    assert "nothing answers at 127.0.0.1:1" in found[2].detail


def test_of_a_kind_that_no_node_can_have_it_says_which_resource_is_missing() -> None:
    kinds = {
        "there": {"max": 2, "resource": "a100"},
        "comes": {"max": 2, "resource": "spot"},
        "never": {"max": 2, "resource": "h200"},
        "any": {"max": 2},
    }
    pools = {"gpu": {"model": "tiny-2b", "kinds": kinds}}
    settings = Settings.model_validate(api_settings("postgresql://u:p@h/d").model_dump() | {"pools": pools})
    told = rayprobe.Probed(0, {"a100": 3}, ["spot"])
    there, comes, never = doctor.kind_findings(settings, "gpu", told)
    assert there.line() == "ok    kind gpu.there       3 nodes have the resource a100"
    assert (comes.health, comes.detail) == (
        Health.OK, "no node has the resource spot now; the autoscaler may start some",
    )  # fmt: skip
    assert never.line() == (
        "FAIL  kind gpu.never       no node has the resource h200, and no node type of the autoscaler has it -> start "
        "its nodes with `--resources '{\"h200\": 1}'`, or correct pools.gpu.kinds.never.resource"
    )


@pytest.mark.parametrize(("least", "health"), [(0, Health.NOTE), (1, Health.FAIL)])
def test_where_nothing_tells_whether_nodes_will_come_only_a_worker_that_must_be_there_is_a_fault(
    least: int, health: Health
) -> None:
    pools = {"gpu": {"model": "tiny-2b", "kinds": {"spot": {"min": least, "max": 2, "resource": "spot"}}}}
    settings = Settings.model_validate(api_settings("postgresql://u:p@h/d").model_dump() | {"pools": pools})
    (finding,) = doctor.kind_findings(settings, "gpu", rayprobe.Probed(0, {}, None))
    assert finding.health is health
    assert "no node has the resource spot" in finding.detail
    assert "`--resources '{\"spot\": 1}'`" in finding.line()


def test_a_cluster_says_what_its_nodes_have(ray_address: str) -> None:
    found = rayprobe.probe(ray_address, within_s=60)
    assert found.gpus() > 0
    assert (found.nodes("GPU"), found.nodes("spot"), found.may_start("spot")) == (1, 0, None)


async def test_it_says_of_each_pool_why_its_workers_cannot_load(store: Store, database_url: str) -> None:
    load = WorkerLoad(worker="small-0", pool=POOL, model="tiny-2b", state=LoadState.BROKEN)
    detail = "ConfigError: /models/tiny-2b is not whole: vae has no config.json"
    broken = replace(load, failures=3, reason="its files are not whole", detail=detail)
    loaded = replace(load, worker="small-1", state=LoadState.LOADED)
    await store.record_loads(CLUSTER, [broken, loaded])
    told = await store.worker_loads()
    finding = doctor_database.pool_finding(POOL, told)
    assert (finding.part, finding.health) == (f"pool {POOL}", Health.FAIL)
    assert (
        "small-0 cannot load tiny-2b, 3 times in a row: its files are not whole (ConfigError: /models" in finding.detail
    )
    assert doctor_database.pool_finding(POOL, [loaded]).line().endswith("1 of 1 workers have loaded tiny-2b")
    assert doctor_database.pool_finding(POOL, []).health is Health.NOTE
    loading = doctor_database.pool_finding(POOL, [replace(load, state=LoadState.LOADING)])
    assert (loading.health, loading.detail) == (Health.NOTE, "the workers of pool small are still loading tiny-2b")


async def test_it_says_of_a_pool_that_shares_workers_that_none_holds_its_model(store: Store, database_url: str) -> None:
    settings = shared_settings().model_copy(update={"database_url": database_url})
    load = WorkerLoad(worker="main-0", pool="five", model="big", state=LoadState.LOADED)
    await store.record_loads(CLUSTER, [load, replace(load, worker="main-1")])
    found = await asyncio.to_thread(lambda: list(doctor_database.pool_findings(settings)))
    assert [(each.part, each.health, each.detail) for each in found] == [
        ("pool five", Health.OK, "2 of 2 workers have loaded big"),
        ("pool two", Health.NOTE, "no worker of shared.main holds small now"),
    ]


async def test_it_says_which_generation_of_the_master_key_is_missing(store: Store, database_url: str) -> None:
    def finding(**told: Any) -> Finding:
        return doctor_database.masters_finding(api_settings(database_url).model_copy(update=told))

    newer = [MasterKeySettings(generation=2, key=SecretStr("the second of the master keys"))]
    await store.add_key("k1", "acme", "", master=2)
    assert (await asyncio.to_thread(finding)).line() == (
        "FAIL  master keys          the ring holds 1, and something lives on 2 (1 keys, 0 webhook secrets)"
        " -> put it back into master_keys, or end what lives on it (`cogmill keys masters`, `retire-master`)"
    )
    held = await asyncio.to_thread(finding, master_keys=newer)
    assert (held.health, held.detail) == (Health.OK, "generation 2 makes new secrets")
    await store.add_key("k2", "acme", "", master=1)
    held = await asyncio.to_thread(finding, master_keys=newer)
    assert held.detail == "generation 2 makes new secrets; 1 keys and 0 webhook secrets are on 1"
    assert (await asyncio.to_thread(finding, master_key=None)).health is Health.NOTE
