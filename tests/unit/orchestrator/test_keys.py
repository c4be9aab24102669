"""Keys: derived, checked, signed with, cached and revoked."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jwt.utils import base64url_encode

from orchestrator.domain.errors import AddressRefused, StoreUnavailable, Unauthenticated
from orchestrator.domain.masters import Ring
from orchestrator.domain.rights import Rights
from orchestrator.ports import ApiKey
from orchestrator.tenants import keyring, keys, uses

MASTER = "a master key of the tests"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)

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


def ring(rows: Rows, *, cache_s: float = 2.0, watch: Watch | None = None) -> keyring.Keyring:
    return keyring.Keyring(rows, Ring.of(MASTER), cache_s=cache_s, monotonic=watch or Watch(), wall=NOW.timestamp)


def signed(key_id: str = "k1", *, secret: str | None = None, algorithm: str = "HS256", **claims: object) -> str:
    """A token as the SDKs make it: good for 210 seconds, in milliseconds."""
    secret = keys.issue(MASTER, key_id).split(".")[1] if secret is None else secret
    whole = {"api_key": key_id, "exp": NOW_MS + 210_000, "timestamp": NOW_MS, **claims}
    return jwt.encode(whole, secret, algorithm=algorithm, headers={"alg": algorithm, "sign_type": "SIGN"})


async def reason_of(good: keyring.Keyring, header: str | None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await good.tenant(header)
    return caught.value.reason


def parse_or_reason(header: str) -> keys.Key | keys.Token | str:
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
        parsed = keys.parse(header)
        assert isinstance(parsed, keys.Key)
        assert parsed.id == key_id
        parsed.verify(Ring.of(MASTER))


@given(ids, ids)
def test_a_secret_is_good_for_its_own_id_and_master_key_only(one: str, other: str) -> None:
    assume(one != other)
    secret = keys.issue(MASTER, one).split(".")[1]
    for key_id, master in ((other, MASTER), (one, MASTER + "!")):
        with pytest.raises(Unauthenticated):
            keys.Key(key_id, secret).verify(Ring.of(master))


@given(st.one_of(st.text(), st.from_regex(r"(?:Bearer +)?[\w-]*\.[\w-]*(?:\.[\w-]*)?", fullmatch=True)))
def test_any_header_is_a_credential_or_refused_with_a_reason(header: str) -> None:
    match parse_or_reason(header):
        case keys.Key(key_id, secret):
            assert f"{key_id}.{secret}" in header
            assert "." not in key_id + secret
        case keys.Token(_, _, _, text):
            assert text in header
        case reason:
            assert reason in ("missing", "malformed")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["api_key", "exp", "timestamp", "nbf", "sub", "aud"]), json_values), json_values)
def test_any_claims_are_a_token_that_nobody_signed_or_refused_with_a_reason(
    claims: dict[str, object], header: object
) -> None:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), b"signature")
    parsed = parse_or_reason(".".join(base64url_encode(part).decode() for part in parts))
    if isinstance(parsed, str):
        assert parsed == "malformed"
    else:
        assert isinstance(parsed, keys.Token)
        with pytest.raises(Unauthenticated) as caught:
            parsed.verify(Ring.of(MASTER), NOW.timestamp())
        assert caught.value.reason == "unverified"


def test_new_ids_are_url_safe_without_a_dot_and_differ() -> None:
    made = {keys.new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("cgm_[0-9A-Za-z]{16}", key_id) for key_id in made)


@pytest.mark.parametrize("header", [None, "", "   "])
async def test_no_header_is_missing(header: str | None) -> None:
    assert await reason_of(ring(Rows()), header) == "missing"


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Basic dXNlcjpwdw==", "Bearer id", "Bearer a.b.c", "eyJh.eyJh.c2ln", "Bearer ../x.y", "é.y", "a.b.c.d"],
)
async def test_what_is_no_key_and_no_token_is_malformed(header: str) -> None:
    assert await reason_of(ring(Rows()), header) == "malformed"


async def test_a_good_key_speaks_for_its_tenant() -> None:
    assert await ring(Rows(key())).tenant(f"Bearer {keys.issue(MASTER, 'k1')}") == "acme"


async def test_an_unknown_id_and_a_wrong_secret_look_the_same_and_the_wrong_secret_costs_no_query() -> None:
    rows = Rows(key())
    good = ring(rows)
    with pytest.raises(Unauthenticated) as wrong:
        await good.tenant("Bearer k1.wrong")
    with pytest.raises(Unauthenticated) as unknown_and_wrong:
        await good.tenant("Bearer nobody.wrong")
    assert rows.reads == 0
    with pytest.raises(Unauthenticated) as unknown:
        await good.tenant(keys.issue(MASTER, "nobody"))
    told = {(error.value.reason, error.value.message) for error in (wrong, unknown, unknown_and_wrong)}
    assert told == {("invalid", "the API key is not valid")}


async def test_a_token_signed_with_the_secret_speaks_for_its_tenant_with_and_without_bearer() -> None:
    for header in (signed(), f"Bearer {signed()}", f"bearer {signed(exp=NOW_MS + 1.5)}"):
        assert await ring(Rows(key())).tenant(header) == "acme"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (signed(exp=NOW_MS), "expired"),
        (signed(exp=NOW_MS + 1), None),
        (signed(exp=NOW_MS // 1000 + 210), "expired"),  # in seconds, where PyJWT itself would look for them
        (signed(timestamp=NOW_MS - 600_000), None),
        (signed(timestamp=NOW_MS - 600_001), "expired"),
        (signed(timestamp=NOW_MS + 60_000), None),
        (signed(timestamp=NOW_MS + 60_001), "unverified"),
        (signed(exp=NOW_MS + 10**9, timestamp=NOW_MS + 60_001), "unverified"),  # or it would be good for longer
        (signed(exp=NOW_MS * 10, timestamp=0), "expired"),
        (signed(secret="x" * 43), "unverified"),
        (signed(algorithm="HS512", secret="x" * 64), "unverified"),
        (signed(algorithm="none", secret=""), "malformed"),
        (signed() + "A", "unverified"),
        (signed(exp=None), "malformed"),
        (signed(exp=True), "malformed"),
        (signed(exp=str(NOW_MS)), "malformed"),
        (signed(exp=10**400), "malformed"),
        (signed(timestamp=float("nan")), "malformed"),
        (signed(api_key="../k1"), "malformed"),
        (signed(api_key=["k1"]), "malformed"),
        (signed("nobody"), "invalid"),
    ],
)
async def test_a_token_is_good_for_its_milliseconds_its_key_and_its_algorithm_only(
    token: str, reason: str | None
) -> None:
    if reason is None:
        assert await ring(Rows(key())).tenant(token) == "acme"
    else:
        assert await reason_of(ring(Rows(key())), token) == reason


async def test_a_revoked_key_is_refused_as_revoked_and_so_are_its_tokens() -> None:
    for header in (keys.issue(MASTER, "k1"), signed()):
        assert await reason_of(ring(Rows(key(revoked=True))), header) == "revoked"


async def test_a_key_is_read_once_while_its_cache_is_fresh_and_a_revocation_shows_right_after() -> None:
    rows, watch = Rows(key()), Watch()
    good = ring(rows, cache_s=2, watch=watch)
    header = keys.issue(MASTER, "k1")
    await good.tenant(header)
    rows.rows["k1"] = key(revoked=True)
    watch.now = 1.9
    assert await good.tenant(header) == "acme"
    assert rows.reads == 1
    watch.now = 2.0
    assert await reason_of(good, header) == "revoked"


async def test_requests_that_arrive_together_share_one_look_up_which_survives_the_first_of_them_hanging_up() -> None:
    rows = Rows(key())
    rows.open.clear()
    good = ring(rows)
    header = keys.issue(MASTER, "k1")
    first, *others = [asyncio.create_task(good.tenant(header)) for _ in range(8)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    rows.open.set()
    assert await asyncio.gather(*others) == ["acme"] * 7
    assert rows.reads == 1


async def test_a_look_up_that_hangs_holds_up_those_alone_who_came_with_it() -> None:
    rows, watch = Rows(key()), Watch()
    good = keyring.Keyring(rows, Ring.of(MASTER), cache_s=2, monotonic=watch)
    rows.open.clear()
    first = asyncio.create_task(good.tenant(keys.issue(MASTER, "k1")))
    await asyncio.sleep(0)  # it begins
    await asyncio.sleep(0)  # and so does its look-up
    assert rows.reads == 1
    watch.now = 1.5
    rows.open = asyncio.Event()  # the connection that the first one waits on stays silent; others answer
    rows.open.set()
    assert await good.tenant(keys.issue(MASTER, "k1")) == "acme"
    assert (rows.reads, first.done()) == (2, False)
    first.cancel()


async def test_a_look_up_that_failed_is_not_remembered() -> None:
    rows = Rows(key())
    rows.down = True
    good = ring(rows)
    with pytest.raises(StoreUnavailable):
        await good.tenant(keys.issue(MASTER, "k1"))
    rows.down = False
    assert await good.tenant(keys.issue(MASTER, "k1")) == "acme"


async def test_what_compares_secrets_and_signatures_takes_the_same_time_wherever_they_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both kinds of credential, and no other comparison decides: a liar that calls all equal would let all in."""
    compared: list[tuple[object, object]] = []

    def liar(one: object, other: object) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr(hmac, "compare_digest", liar)
    for header in ("Bearer k1.wrong", signed(secret="another secret of 32 bytes or more"), keys.issue(MASTER, "k1")):
        compared.clear()
        assert await ring(Rows(key())).tenant(header) == "acme"
        assert len(compared) == 1


_SECRET = re.compile(r"secret|password|passwd|signature|hmac|master_key|access_key")


def test_no_secret_is_compared_by_an_operator() -> None:
    """`==` and `in` stop at the first difference; `hmac.compare_digest` is for secrets."""
    root = Path(keys.__file__).parents[1]
    suspicious = []
    for path in sorted(file for part in ("api", "orchestrator", "workers") for file in (root / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare) or not any(
                isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops
            ):
                continue
            sides = [ast.unparse(side) for side in (node.left, *node.comparators) if not isinstance(side, ast.Constant)]
            if any(_SECRET.search(side.lower()) for side in sides):
                suspicious.append(f"{path.relative_to(root)}:{node.lineno}: {ast.unparse(node)}")
    assert suspicious == []


def checksum_of(text: str) -> str:
    """Six digits of CRC-32 in base 62, as a scanner that has only read about them would count them."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def test_a_scanner_knows_every_new_key_and_none_that_is_one_letter_off() -> None:
    for _ in range(50):
        whole = keys.issue(MASTER, keys.new_id())
        assert re.fullmatch(r"cgm_[0-9A-Za-z]{16}\.[0-9A-Za-z]{49}", whole)
        assert checksum_of(whole[:-6]) == whole[-6:]
        wrong = whole[:9] + ("x" if whole[9] != "x" else "y") + whole[10:]
        assert checksum_of(wrong[:-6]) != wrong[-6:]


async def test_keys_of_before_are_as_good_as_new_ones_and_a_checksum_is_no_part_of_theirs() -> None:
    new = keys.new_id()
    good = ring(Rows(key("k1"), key(new)))
    for whole in (keys.issue(MASTER, "k1"), keys.issue(MASTER, new), signed(new)):
        assert await good.tenant(f"Bearer {whole}") == "acme"
    assert await reason_of(good, keys.issue(MASTER, new)[:-6]) == "invalid"
    old = keys.issue(MASTER, "k1")
    assert await reason_of(good, old + checksum_of(old)) == "invalid"


@pytest.mark.parametrize("whole", [keys.issue(MASTER, "k1"), signed()], ids=["key", "token"])
async def test_a_key_that_expires_is_refused_from_then_on_without_another_look_at_the_database(whole: str) -> None:
    wall, until = Watch(), NOW + timedelta(seconds=10)
    rows = Rows(replace(key(), rights=Rights(expires_at=until)))
    good = keyring.Keyring(rows, Ring.of(MASTER), cache_s=60, monotonic=Watch(), wall=wall)
    wall.now = NOW.timestamp() + 9.9
    assert await good.tenant(whole) == "acme"
    wall.now = NOW.timestamp() + 10
    with pytest.raises(Unauthenticated, match="the API key expired at 2026-11-22 00:00:10 UTC") as refused:
        await good.tenant(whole)
    assert (refused.value.reason, rows.reads) == ("expired", 1)


@pytest.mark.parametrize("whole", [keys.issue(MASTER, "k1"), signed()], ids=["key", "token"])
async def test_a_key_is_let_in_from_its_networks_alone_and_only_then_counts_as_used(whole: str) -> None:
    used: list[str] = []
    rows = Rows(replace(key(), rights=Rights(allow=(ip_network("203.0.113.0/24"),))))
    good = keyring.Keyring(rows, Ring.of(MASTER), cache_s=60, used=used.append, wall=NOW.timestamp)
    for elsewhere in (ip_address("198.51.100.1"), None):
        with pytest.raises(AddressRefused):
            await good.key(whole, elsewhere)
    assert used == []
    assert (await good.key(whole, ip_address("203.0.113.7"))).id == "k1"
    assert used == ["k1"]


async def test_what_is_changed_here_is_looked_at_again_at_once() -> None:
    rows = Rows(key())
    good = ring(rows, cache_s=60)
    header = keys.issue(MASTER, "k1")
    await good.tenant(header)
    rows.rows["k1"] = key(revoked=True)
    good.forget("k1")
    assert await reason_of(good, header) == "revoked"


class TestUses:
    """`last_used_at`: noted by every request, written by none."""

    async def test_a_thousand_uses_are_one_write_and_none_are_none(self) -> None:
        written, watch = Written(), Watch()
        noted = uses.Uses(written, monotonic=watch)
        await noted.flush()
        for second in range(1000):
            watch.now = float(second)
            noted.note(f"k{second % 2}")
        watch.now = 1000.0
        await noted.flush()
        await noted.flush()
        assert written.told == [{"k0": 2.0, "k1": 1.0}]

    async def test_what_could_not_be_written_is_written_later_and_the_latest_use_counts(self) -> None:
        written, watch = Written(), Watch()
        noted = uses.Uses(written, monotonic=watch)
        noted.note("k0")
        noted.note("k1")
        written.down = True
        with pytest.raises(StoreUnavailable):
            await noted.flush()
        watch.now = 5.0
        noted.note("k1")
        written.down = False
        await noted.flush()
        assert written.told == [{"k0": 5.0, "k1": 0.0}]


class Written:
    def __init__(self) -> None:
        self.told: list[dict[str, float]] = []
        self.down = False

    async def record_uses(self, ages: Mapping[str, float]) -> None:
        if self.down:
            raise StoreUnavailable("down")
        self.told.append(dict(ages))
