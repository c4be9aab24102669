"""Keys: derived, checked, signed with, cached and revoked."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jwt.utils import base64url_encode

from orchestrator.domain.errors import StoreUnavailable, Unauthenticated
from orchestrator.ports import ApiKey
from orchestrator.tenants import keys

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


def ring(rows: Rows, *, cache_s: float = 2.0, watch: Watch | None = None) -> keys.Keyring:
    return keys.Keyring(rows, MASTER, cache_s=cache_s, monotonic=watch or Watch(), wall=NOW.timestamp)


def signed(key_id: str = "k1", *, secret: str | None = None, algorithm: str = "HS256", **claims: object) -> str:
    """A token as the SDKs make it: good for 210 seconds, in milliseconds."""
    secret = keys.issue(MASTER, key_id).split(".")[1] if secret is None else secret
    whole = {"api_key": key_id, "exp": NOW_MS + 210_000, "timestamp": NOW_MS, **claims}
    return jwt.encode(whole, secret, algorithm=algorithm, headers={"alg": algorithm, "sign_type": "SIGN"})


async def reason_of(keyring: keys.Keyring, header: str | None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await keyring.tenant(header)
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
        parsed.verify(MASTER)


@given(ids, ids)
def test_a_secret_is_good_for_its_own_id_and_master_key_only(one: str, other: str) -> None:
    assume(one != other)
    secret = keys.issue(MASTER, one).split(".")[1]
    for key_id, master in ((other, MASTER), (one, MASTER + "!")):
        with pytest.raises(Unauthenticated):
            keys.Key(key_id, secret).verify(master)


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
            parsed.verify(MASTER, NOW.timestamp())
        assert caught.value.reason == "unverified"


def test_new_ids_are_url_safe_without_a_dot_and_differ() -> None:
    made = {keys.new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(key_id.isalnum() and key_id.isascii() for key_id in made)


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
        (signed(timestamp=NOW_MS + 600_001), "unverified"),
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


async def test_a_look_up_that_hangs_holds_up_those_alone_who_came_with_it() -> None:
    rows, watch = Rows(key()), Watch()
    ring = keys.Keyring(rows, MASTER, cache_s=2, monotonic=watch)
    rows.open.clear()
    first = asyncio.create_task(ring.tenant(keys.issue(MASTER, "k1")))
    await asyncio.sleep(0)  # it begins
    await asyncio.sleep(0)  # and so does its look-up
    assert rows.reads == 1
    watch.now = 1.5
    rows.open = asyncio.Event()  # the connection that the first one waits on stays silent; others answer
    rows.open.set()
    assert await ring.tenant(keys.issue(MASTER, "k1")) == "acme"
    assert (rows.reads, first.done()) == (2, False)
    first.cancel()


async def test_a_look_up_that_failed_is_not_remembered() -> None:
    rows = Rows(key())
    rows.down = True
    keyring = ring(rows)
    with pytest.raises(StoreUnavailable):
        await keyring.tenant(keys.issue(MASTER, "k1"))
    rows.down = False
    assert await keyring.tenant(keys.issue(MASTER, "k1")) == "acme"


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
