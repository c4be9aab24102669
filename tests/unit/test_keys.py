"""Keys: derived, checked, cached and revoked."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator import keys
from orchestrator.domain.errors import StoreUnavailable, Unauthenticated
from orchestrator.ports import ApiKey

MASTER = "a master key of the tests"
NOW = datetime(2026, 11, 22, tzinfo=UTC)

ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


class Rows:
    """A key table that counts its readers, may be slow, and may be down."""

    def __init__(self, *rows: ApiKey) -> None:
        self.rows = {row.id: row for row in rows}
        self.reads = 0
        self.down = False
        self.open = asyncio.Event()
        self.open.set()

    async def find_key(self, key_id: str) -> ApiKey | None:
        self.reads += 1
        await self.open.wait()
        if self.down:
            raise StoreUnavailable("down")
        return self.rows.get(key_id)


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key(key_id: str = "k1", *, revoked: bool = False) -> ApiKey:
    return ApiKey(id=key_id, tenant="acme", name="test", created_at=NOW, revoked_at=NOW if revoked else None)


def ring(rows: Rows, *, cache_s: float = 2.0, watch: Watch | None = None) -> keys.Keyring:
    return keys.Keyring(rows, MASTER, cache_s=cache_s, monotonic=watch or Watch())


async def reason_of(keyring: keys.Keyring, header: str | None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await keyring.tenant(header)
    return caught.value.reason


def parse_or_reason(header: str) -> tuple[str, str] | str:
    try:
        return keys.parse(header)
    except Unauthenticated as error:
        return error.reason


def test_a_secret_is_the_base62_of_an_hmac_over_the_id() -> None:
    key_id, secret = keys.issue(MASTER, "k1").split(".")
    number = 0
    for digit in secret:
        number = number * 62 + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(digit)
    assert key_id == "k1"
    assert number.to_bytes(32) == hmac.new(MASTER.encode(), b"k1", hashlib.sha256).digest()


@given(ids)
def test_every_issued_key_parses_and_verifies_with_and_without_bearer(key_id: str) -> None:
    issued = keys.issue(MASTER, key_id)
    for header in (issued, f"Bearer {issued}", f"bearer   {issued}  "):
        parsed_id, secret = keys.parse(header)
        assert parsed_id == key_id
        assert keys.verify(MASTER, parsed_id, secret)


@given(ids, ids)
def test_a_secret_is_good_for_its_own_id_and_master_key_only(one: str, other: str) -> None:
    assume(one != other)
    secret = keys.issue(MASTER, one).split(".")[1]
    assert not keys.verify(MASTER, other, secret)
    assert not keys.verify(MASTER + "!", one, secret)


@given(st.text())
def test_any_header_is_either_an_id_with_a_secret_or_refused_with_a_reason(header: str) -> None:
    parsed = parse_or_reason(header)
    if isinstance(parsed, str):
        assert parsed in ("missing", "malformed")
    else:
        assert ".".join(parsed) in header
        assert ".".join(parsed).count(".") == 1


def test_new_ids_are_url_safe_without_a_dot_and_differ() -> None:
    made = {keys.new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(key_id.isalnum() and key_id.isascii() for key_id in made)


@pytest.mark.parametrize("header", [None, "", "   "])
async def test_no_header_is_missing(header: str | None) -> None:
    assert await reason_of(ring(Rows()), header) == "missing"


@pytest.mark.parametrize(
    "header", ["Bearer", "Basic dXNlcjpwdw==", "Bearer id", "Bearer a.b.c", "eyJh.eyJh.c2ln", "Bearer ../x.y", "é.y"]
)
async def test_what_is_no_id_and_secret_is_malformed_json_web_tokens_included(header: str) -> None:
    assert await reason_of(ring(Rows()), header) == "malformed"


async def test_a_good_key_speaks_for_its_tenant() -> None:
    assert await ring(Rows(key())).tenant(f"Bearer {keys.issue(MASTER, 'k1')}") == "acme"


async def test_an_unknown_id_and_a_wrong_secret_look_the_same_and_the_wrong_secret_costs_no_query() -> None:
    rows = Rows(key())
    keyring = ring(rows)
    with pytest.raises(Unauthenticated) as wrong:
        await keyring.tenant("Bearer k1.wrong")
    with pytest.raises(Unauthenticated) as unknown_and_wrong:
        await keyring.tenant("Bearer nobody.wrong")
    assert rows.reads == 0
    with pytest.raises(Unauthenticated) as unknown:
        await keyring.tenant(keys.issue(MASTER, "nobody"))
    told = {(error.value.reason, error.value.message) for error in (wrong, unknown, unknown_and_wrong)}
    assert told == {("invalid", "the API key is not valid")}


async def test_a_revoked_key_is_refused_as_revoked() -> None:
    assert await reason_of(ring(Rows(key(revoked=True))), keys.issue(MASTER, "k1")) == "revoked"


async def test_a_key_is_read_once_while_its_cache_is_fresh_and_a_revocation_shows_right_after() -> None:
    rows, watch = Rows(key()), Watch()
    keyring = ring(rows, cache_s=2, watch=watch)
    header = keys.issue(MASTER, "k1")
    await keyring.tenant(header)
    rows.rows["k1"] = key(revoked=True)
    watch.now = 1.9
    assert await keyring.tenant(header) == "acme"
    assert rows.reads == 1
    watch.now = 2.0
    assert await reason_of(keyring, header) == "revoked"


async def test_requests_that_arrive_together_share_one_look_up_which_survives_the_first_of_them_hanging_up() -> None:
    rows = Rows(key())
    rows.open.clear()
    keyring = ring(rows)
    header = keys.issue(MASTER, "k1")
    first, *others = [asyncio.create_task(keyring.tenant(header)) for _ in range(8)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    rows.open.set()
    assert await asyncio.gather(*others) == ["acme"] * 7
    assert rows.reads == 1


async def test_a_look_up_that_failed_is_not_remembered() -> None:
    rows = Rows(key())
    rows.down = True
    keyring = ring(rows)
    with pytest.raises(StoreUnavailable):
        await keyring.tenant(keys.issue(MASTER, "k1"))
    rows.down = False
    assert await keyring.tenant(keys.issue(MASTER, "k1")) == "acme"
