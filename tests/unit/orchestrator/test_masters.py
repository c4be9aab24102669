"""The ring of master keys: how it is told, which generation a secret is of, and what happens while its files change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from structlog.testing import capture_logs

from orchestrator import config
from orchestrator.campaigns.signing import Keys, NewestSigner, jwks_of
from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError, StoreUnavailable, Unauthenticated
from orchestrator.domain.masters import Master, Ring
from orchestrator.domain.webhooks import secret
from orchestrator.notify.outbox import secrets_of
from orchestrator.ports import ApiKey, Try
from orchestrator.tenants import keys
from orchestrator.tenants.keyring import Keyring
from orchestrator.tenants.masters import MasterFiles
from tests.support.secrets import SecretsFolder

TOML = """
default_model = "small"
models.small = {family = "tiny-2b", path = "/models/small"}
pools.gpu = {model = "small", workers = 1}
"""
FIRST, SECOND, THIRD = ("the first of all master keys", "the second of the master keys", "the third of the master keys")
BOTH = Ring((Master(2, SECOND), Master(1, FIRST)))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
URL = "postgresql://h/d"


def listed(*of: tuple[int, str]) -> str:
    return json.dumps([{"generation": generation, "key": key} for generation, key in of])


@pytest.fixture(autouse=True)
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cogmill.toml").write_text(TOML)
    monkeypatch.setenv("COGMILL_CONFIG", str(tmp_path / "cogmill.toml"))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an environment with the first master key alone."""
    monkeypatch.setenv("COGMILL_DATABASE_URL", URL)
    monkeypatch.setenv("COGMILL_MASTER_KEY", FIRST)
    return config.load()


# ---------------------------------------------------------------- settings


def test_a_master_key_alone_is_the_first_generation(load: Settings) -> None:
    assert load.needed_ring == Ring.of(FIRST) == Ring((Master(1, FIRST),))


def test_others_come_before_it_in_the_order_that_they_are_told_in(
    load: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COGMILL_MASTER_KEYS", listed((3, THIRD), (2, SECOND)))
    assert config.load().needed_ring == Ring.of(THIRD, SECOND, FIRST)
    monkeypatch.setenv("COGMILL_MASTER_KEYS", listed((1, FIRST), (2, SECOND)))
    assert config.load().needed_ring == Ring((Master(1, FIRST), Master(2, SECOND)))
    monkeypatch.setenv("COGMILL_MASTER_KEYS", listed((3, THIRD), (2, SECOND)))
    monkeypatch.delenv("COGMILL_MASTER_KEY")
    assert config.load().needed_ring == Ring((Master(3, THIRD), Master(2, SECOND)))
    monkeypatch.delenv("COGMILL_MASTER_KEYS")
    with pytest.raises(ConfigError, match="master_key: needed here"):
        _ = config.load().needed_ring


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (listed((2, SECOND), (2, THIRD)), "master_keys.1.key: the generation 2 is master_keys.0.key already"),
        (listed((1, SECOND)), "master_key: the generation 1 is master_keys.0.key already"),
        (listed((2, FIRST)), "master_key is the same key as master_keys.0.key"),
        (listed((2, "fifteen letters")), "master_keys.0.key must have at least 16 characters"),
        (listed((2, "change-me-change-me")), "master_keys.0.key is still the placeholder of an example"),
        (listed((2, "CHANGE_ME_0123456789")), "master_keys.0.key is still the placeholder of an example"),
        (listed((0, SECOND)), "master_keys.0.generation: Input should be greater than or equal to 1"),
        (listed(*((number, SECOND + str(number)) for number in range(2, 11))), "master_keys: 10 generations"),
        ('[{"generation": 2}]', "master_keys.0.key: Field required (environment: COGMILL_MASTER_KEYS)"),
        (json.dumps([{"generation": 2, "key": SECOND, "kye": 1}]), "master_keys.0.kye: Extra inputs"),
        (json.dumps({"2": SECOND}), "master_keys: Input should be a valid list"),
        (listed((2, SECOND))[:-9], "COGMILL_MASTER_KEYS is no JSON"),
    ],
)
def test_a_wrong_ring_is_told_by_name_without_a_key(
    load: Settings, monkeypatch: pytest.MonkeyPatch, told: str, complaint: str
) -> None:
    monkeypatch.setenv("COGMILL_MASTER_KEYS", told)
    with pytest.raises(ConfigError) as caught:
        config.load()
    assert complaint in str(caught.value)
    assert not any(key in str(caught.value) for key in (FIRST, SECOND, THIRD, "fifteen letters", "change-me-change"))


def test_no_key_is_in_any_text(load: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_MASTER_KEYS", listed((2, SECOND)))
    settings = config.load()
    texts = (repr(settings), settings.model_dump_json(), repr(settings.needed_ring), str(settings.needed_ring.newest))
    assert not any(key in text for text in texts for key in (FIRST, SECOND))


# ---------------------------------------------------------------- files


@pytest.fixture
def files(secrets_folder: SecretsFolder) -> SecretsFolder:
    secrets_folder.write(database_url=URL, master_key=FIRST, master_keys="[]")
    return secrets_folder


def put(files: SecretsFolder, master_keys: str, *, master_key: str = FIRST) -> None:
    files.write(database_url=URL, master_key=master_key, master_keys=master_keys)


def test_files_are_read_again_when_they_change(files: SecretsFolder) -> None:
    ring = MasterFiles(config.load())
    assert ring() == Ring.of(FIRST)
    put(files, listed((2, SECOND)))
    assert ring() == Ring.of(SECOND, FIRST)
    put(files, listed((3, THIRD), (2, SECOND)))
    assert ring() == Ring.of(THIRD, SECOND, FIRST)
    put(files, listed((3, THIRD)))
    assert ring() == Ring((Master(3, THIRD), Master(1, FIRST)))


def test_a_file_that_changed_between_the_settings_and_the_first_look_counts(files: SecretsFolder) -> None:
    settings = config.load()
    put(files, listed((2, SECOND)))
    assert MasterFiles(settings)() == Ring.of(SECOND, FIRST)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"master_keys": listed((2, SECOND), (3, THIRD))[:-20]}, "master_keys: Invalid JSON"),
        ({"master_keys": ""}, "master_keys: its file is empty"),
        ({"master_keys": listed((2, SECOND), (2, THIRD))}, "master_keys.1.key: the generation 2 is"),
        ({"master_keys": listed((2, THIRD))}, "master_keys: another key of generation 2"),
        ({"master_keys": listed((2, SECOND), (3, "short"))}, "master_keys.1.key must have at least 16"),
        ({"master_keys": listed((2, SECOND)), "master_key": FIRST[:20]}, "master_keys: another key of generation 1"),
        ({"master_keys": listed((2, SECOND)), "master_key": ""}, "master_key: its file is empty"),
    ],
    ids=lambda case: "" if isinstance(case, dict) else case,
)
def test_what_makes_no_ring_leaves_it_as_it_was_and_is_logged_once(
    files: SecretsFolder, wrong: dict[str, str], told: str
) -> None:
    put(files, listed((2, SECOND)))
    ring = MasterFiles(config.load())
    assert ring() == Ring.of(SECOND, FIRST)
    files.write(database_url=URL, **{"master_key": FIRST, **wrong})
    with capture_logs() as lines:
        assert [ring(), ring(), ring()] == [Ring.of(SECOND, FIRST)] * 3
    assert [line["event"] for line in lines] == ["changed_secrets_refused"]
    assert told in lines[0]["error"]
    assert not any(key in lines[0]["error"] for key in (FIRST, SECOND, THIRD))
    put(files, listed((3, THIRD), (2, SECOND)))
    with capture_logs() as lines:
        assert ring() == Ring.of(THIRD, SECOND, FIRST)
    assert lines[0]["generations"] == (3, 2, 1)


def test_a_file_that_vanished_leaves_the_ring_as_it_was(files: SecretsFolder) -> None:
    put(files, listed((2, SECOND)))
    ring = MasterFiles(config.load())
    assert ring() == Ring.of(SECOND, FIRST)
    files.write(database_url=URL, master_key=FIRST)
    with capture_logs() as lines:
        assert [ring(), ring()] == [Ring.of(SECOND, FIRST)] * 2
    assert [line["event"] for line in lines] == ["changed_secrets_refused"]
    assert "master_keys" in lines[0]["error"]


def test_what_the_environment_tells_stays(files: SecretsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_MASTER_KEYS", listed((2, SECOND)))
    ring = MasterFiles(config.load())
    put(files, listed((3, THIRD)))
    assert ring() == Ring.of(SECOND, FIRST)


# ---------------------------------------------------------------- keys


def whole(key_id: str, master_key: str) -> str:
    return keys.issue(master_key, key_id)


def token(key_id: str, master_key: str) -> str:
    """What the bigmodel SDKs make of it. Source: zhipuai and zai-sdk, `core/_jwt_token.py`."""
    now = int(NOW.timestamp() * 1000)
    secret_of_key = whole(key_id, master_key).partition(".")[2]
    return jwt.encode({"api_key": key_id, "exp": now + 210_000, "timestamp": now}, secret_of_key, algorithm="HS256")


Made = Callable[[str, str], str]
CREDENTIALS = [whole, token]


class Rows:
    """A table of keys that counts who asks."""

    def __init__(self, *rows: ApiKey) -> None:
        self.rows = {row.id: row for row in rows}
        self.asked: list[str] = []
        self.down = False

    async def find_key(self, key_id: str) -> ApiKey | None:
        self.asked.append(key_id)
        if self.down:
            raise StoreUnavailable("down")
        return self.rows.get(key_id)


def row(key_id: str, master: int) -> ApiKey:
    return ApiKey(id=key_id, tenant="acme", name="test", created_at=NOW, master=master)


def keyring_of(rows: Rows, ring: Ring = BOTH) -> Keyring:
    return Keyring(rows, ring, cache_s=60, monotonic=lambda: 0.0, wall=NOW.timestamp)


@pytest.mark.parametrize("made", CREDENTIALS)
@pytest.mark.parametrize(("of_row", "of_secret"), [(1, 1), (2, 2), (1, 2), (2, 1)])
async def test_a_secret_counts_for_a_row_of_its_generation_alone(made: Made, of_row: int, of_secret: int) -> None:
    credential = made("k1", BOTH.key_of(of_secret) or "")
    keyring = keyring_of(Rows(row("k1", of_row)))
    if of_row == of_secret:
        assert await keyring.tenant(f"Bearer {credential}") == "acme"
        return
    with pytest.raises(Unauthenticated) as caught:
        await keyring.tenant(f"Bearer {credential}")
    assert (str(caught.value), caught.value.reason) == (str(keys.invalid()), keys.invalid().reason)


@pytest.mark.parametrize("made", CREDENTIALS)
async def test_a_secret_of_no_generation_is_never_looked_up(made: Made) -> None:
    rows = Rows(row("k1", 1))
    with pytest.raises(Unauthenticated):
        await keyring_of(rows).tenant(f"Bearer {made('k1', THIRD)}")
    assert rows.asked == []


async def test_a_leaked_generation_cannot_fill_the_memory_with_ids_that_are_none() -> None:
    rows = Rows(row("k1", 1))
    keyring = keyring_of(rows)
    assert await keyring.tenant(keys.issue(FIRST, "k1")) == "acme"
    for down in (False, True):
        rows.down = down
        for number in range(100):
            with pytest.raises((Unauthenticated, StoreUnavailable)):
                await keyring.tenant(keys.issue(FIRST, f"forged-{number}"))
    assert keyring._lookups.keys() == {"k1"}
    rows.down = True  # and what is known still is
    assert await keyring.tenant(keys.issue(FIRST, "k1")) == "acme"


async def test_a_key_of_a_generation_that_left_the_ring_is_none_also_behind_an_answer_that_began() -> None:
    rings = [BOTH]
    keyring = Keyring(Rows(row("k1", 1)), lambda: rings[-1], cache_s=60, wall=NOW.timestamp)
    assert (await keyring.good("k1")).tenant == "acme"
    rings.append(Ring(BOTH.masters[:1]))
    for attempt in (keyring.good("k1"), keyring.key(keys.issue(FIRST, "k1"))):
        with pytest.raises(Unauthenticated):
            await attempt


# ---------------------------------------------------------------- what else follows from them


ATTEMPT = Try(
    id=uuid4(), lease=uuid4(), tenant="acme", endpoint_id="whe_1", event_id="evt_1", url="", body="", attempts=1,
    generation=3, overlaps=True, master=2, previous_master=1,
)  # fmt: skip


def signing(ring: Ring, **changes: Any) -> list[str]:
    return secrets_of(replace(ATTEMPT, **changes), ring)


def test_both_secrets_sign_while_they_overlap_each_by_its_own_generation() -> None:
    present, before = secret(SECOND, "endpoint:whe_1", 3), secret(FIRST, "endpoint:whe_1", 2)
    assert signing(BOTH) == [present, before]
    assert signing(BOTH, previous_master=None) == [present, before]
    assert signing(BOTH, overlaps=False) == [present]
    assert signing(Ring(BOTH.masters[:1])) == [present]
    assert signing(Ring(BOTH.masters[1:])) == [before]
    assert signing(Ring(BOTH.masters[1:]), overlaps=False) == []


def test_a_secret_that_nobody_has_seen_follows_from_the_newest() -> None:
    unseen = signing(BOTH, endpoint_id=None, master=None, previous_master=None, generation=1, overlaps=False)
    assert unseen == [secret(SECOND, "tenant:acme", 1)]


def test_manifests_are_signed_by_the_newest_and_checked_with_all_in_the_ring() -> None:
    facts: dict[str, Any] = {"campaign": "c", "revision": 1, "final": True, "rows": 1, "sha256": "0" * 64}
    rings = [Ring.of(FIRST)]
    signer = NewestSigner(lambda: rings[-1])
    before = signer.sign(**facts)
    rings.append(BOTH)
    after = signer.sign(**facts)
    jwks = jwks_of(BOTH)
    assert [key["kid"] for key in jwks["keys"]] == [after.key_id, before.key_id]
    for signed in (before, after):
        Keys.of(jwks).verify(signed)
