"""A dispatcher whose secrets have changed makes way for one that tells them to the workers; renders go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.domain.errors import ConfigError
from orchestrator.ports import Workers
from orchestrator.processes import dispatching, renewing
from orchestrator.processes.renewing import Renewal
from tests.support.secrets import SecretsFolder
from tests.support.simulated_workers import SimulatedWorkers, VirtualClock

TOLD = {"database_url": "postgresql://h/d", "master_key": "sixteen characters", "s3__secret_key": "one"}
TOML = """
default_model = "small"
models.small = {family = "tiny-2b", path = "/models/small"}
pools.gpu = {model = "small", workers = 1}
metrics.dispatch_port = 0
"""


@pytest.fixture
def folder(secrets_folder: SecretsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretsFolder:
    (tmp_path / "cogmill.toml").write_text(TOML)
    monkeypatch.setenv("COGMILL_CONFIG", str(tmp_path / "cogmill.toml"))
    secrets_folder.write(**TOLD)
    return secrets_folder


@pytest.mark.parametrize(
    ("changed", "due"),
    [
        ({"s3__secret_key": "two"}, True),
        ({"s3__access_key": "new"}, True),
        ({"database_url": "postgresql://h/other"}, False),
        ({"master_key": "another sixteen characters"}, False),
        ({}, False),
    ],
    ids=str,
)
async def test_what_only_a_successor_can_hand_on_makes_a_process_end(
    folder: SecretsFolder, changed: dict[str, str], due: bool
) -> None:
    renewal = Renewal()
    folder.write(**TOLD | changed)
    await renewal.run_once()

    assert renewal.due.is_set() is due


async def test_a_process_that_could_not_start_again_goes_on_until_it_can(folder: SecretsFolder) -> None:
    renewal = Renewal()
    folder.write(**TOLD | {"s3__secret_kye": "two"})
    with pytest.raises(ConfigError):
        config.load()
    await renewal.run_once()
    assert not renewal.due.is_set()

    folder.write(**TOLD | {"s3__secret_key": "two"})
    await renewal.run_once()

    assert renewal.due.is_set()


async def test_what_changed_before_the_settings_were_read_ends_a_dispatcher_too(
    folder: SecretsFolder, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "EVERY_S", 0.01)
    told = TOLD | {"database_url": database_url, "s3__access_key": "any"}
    folder.write(**told)
    renewal = renewing.Renewal()
    folder.write(**told | {"s3__secret_key": "two"})
    pool = SimulatedWorkers(VirtualClock(), publish=lambda assignment: pytest.fail("nothing is rendered"))

    dispatcher = dispatching.run_dispatcher(config.load(), lambda address, namespace: pool, renewal=renewal)

    await asyncio.wait_for(dispatcher, 30)


@pytest.mark.parametrize("while_joining", [False, True])
async def test_the_dispatcher_ends_as_if_stopped_and_leaves_its_workers_even_where_a_stop_would_drain_them(
    folder: SecretsFolder, database_url: str, monkeypatch: pytest.MonkeyPatch, while_joining: bool
) -> None:
    monkeypatch.setattr(renewing, "EVERY_S", 0.01)
    told = TOLD | {"database_url": database_url, "s3__access_key": "any"}
    folder.write(**told)
    pool = SimulatedWorkers(VirtualClock(), publish=lambda assignment: pytest.fail("nothing is rendered"))
    settings, started = config.load(), asyncio.Event()
    pool.born = lambda worker: started.set()

    def join(address: str | None, namespace: str) -> Workers:
        if while_joining:
            folder.write(**told | {"s3__secret_key": "two"})
        return pool

    running = asyncio.create_task(dispatching.run_dispatcher(settings, join, drain_s=3600))
    if not while_joining:
        await asyncio.wait({running, asyncio.ensure_future(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done()
        folder.write(**told | {"s3__secret_key": "two"})
    await asyncio.wait_for(running, 30)

    assert not any(worker.draining for worker in pool.workers.values())
