"""What a key may: no key makes one that may more; and which address counts, whoever writes what into a header."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.callers import address_of, read_networks
from orchestrator.domain.errors import AddressRefused, BeyondOwn, InvalidField, MissingScope
from orchestrator.domain.rights import (
    ROLES,
    USUAL,
    Rights,
    Role,
    Scope,
    Standing,
    admit_from,
    check_within,
    known_scopes,
    need,
    read_role,
    read_scopes,
    scopes_of,
    standing,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

scopes = st.frozensets(st.sampled_from(list(Scope)), min_size=1)
networks = st.lists(st.integers(0, 15).flatmap(lambda at: st.integers(28, 32).map(lambda long: (at, long))), max_size=4)
moments = st.none() | st.integers(1, 5).map(lambda days: NOW + timedelta(days=days))


def some_rights(given_: tuple[frozenset[Scope], list[tuple[int, int]], datetime | None]) -> Rights:
    named, at, expires_at = given_
    allow = tuple(ip_network((int(ip_address("192.0.2.0")) + host, long), strict=False) for host, long in at)
    return Rights(scopes=named, allow=allow, expires_at=expires_at)


rights = st.tuples(scopes, networks, moments).map(some_rights)


def may(key: Rights, scope: Scope, address: str, at: datetime) -> bool:
    """Whether a request would be let in."""
    try:
        need(key, scope)
        admit_from(key, ip_address(address))
    except (MissingScope, AddressRefused):
        return False
    return key.expires_at is None or at < key.expires_at


@given(rights, rights)
def test_what_a_key_may_give_never_lets_in_what_the_key_itself_does_not(asked: Rights, own: Rights) -> None:
    places = [f"192.0.2.{host}" for host in range(16)] + ["198.51.100.1"]
    times = [NOW + timedelta(days=days, hours=1) for days in range(6)]
    more = any(
        may(asked, scope, place, at) and not may(own, scope, place, at)
        for scope in Scope
        for place in places
        for at in times
    )
    if more:
        with pytest.raises(BeyondOwn):
            check_within(asked, own)
    else:
        check_within(asked, own)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (Rights(scopes=frozenset({Scope.OPERATE})), "scopes"),
        (Rights(allow=()), "allow"),
        (Rights(allow=(ip_network("203.0.113.0/24"), ip_network("::/0"))), "allow"),
        (Rights(allow=(ip_network("203.0.113.0/24"),), expires_at=None), "expires_at"),
        (Rights(allow=(ip_network("203.0.113.0/24"),), expires_at=NOW + timedelta(seconds=1)), "expires_at"),
        (Rights(allow=(ip_network("203.0.113.0/24"),), expires_at=NOW), None),
    ],
)
def test_what_goes_beyond_a_key_is_refused_by_its_field(asked: Rights, param: str | None) -> None:
    halves = (ip_network("203.0.113.0/25"), ip_network("203.0.113.128/25"))
    own = Rights(scopes=USUAL, allow=halves, expires_at=NOW)
    asked = asked if param in (None, "expires_at") else Rights(scopes=asked.scopes, allow=asked.allow, expires_at=NOW)
    if param is None:
        check_within(asked, own)
        return
    with pytest.raises(BeyondOwn) as refused:
        check_within(asked, own)
    assert refused.value.param == param


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize(("ends", "expired"), [(None, False), (1, False), (0, True), (-1, True)])
def test_a_key_is_good_until_it_is_revoked_or_the_moment_that_it_expires(
    revoked: bool, ends: int | None, expired: bool
) -> None:
    key = Rights(expires_at=None if ends is None else NOW + timedelta(microseconds=ends))
    stands = Standing.REVOKED if revoked else Standing.EXPIRED if expired else Standing.GOOD
    assert standing(key, NOW if revoked else None, NOW) is stands


def test_scopes_are_read_by_name_and_none_brings_another() -> None:
    assert read_scopes(["read", "submit", "read"]) == {Scope.READ, Scope.SUBMIT}
    assert [read_scopes([scope]) for scope in Scope] == [{scope} for scope in Scope]
    assert Scope.OPERATE not in USUAL
    for words in (["root"], ["operator"], [""], ["READ"], []):
        with pytest.raises(InvalidField) as refused:
            read_scopes(words)
        assert refused.value.param == "scopes"
    assert known_scopes(["read", "of a newer release"]) == {Scope.READ}


def test_a_role_has_all_that_the_one_below_it_has_and_nothing_of_a_tenants() -> None:
    assert ROLES[Role.VIEWER] < ROLES[Role.OPERATOR] < ROLES[Role.ADMIN]
    assert not ROLES[Role.ADMIN] & USUAL
    assert scopes_of(Role.VIEWER, None, usual=USUAL) == {Scope.VIEW}
    assert scopes_of(Role.VIEWER, frozenset({Scope.READ}), usual=USUAL) == {Scope.VIEW, Scope.READ}
    assert scopes_of(None, frozenset({Scope.READ}), usual=USUAL) == {Scope.READ}
    assert scopes_of(None, None, usual=USUAL) == USUAL
    assert [read_role(role) for role in Role] == list(Role)
    with pytest.raises(InvalidField, match="viewer, operator, admin") as refused:
        read_role("root")
    assert refused.value.param == "role"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy of ours says so
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),  # the caller's own words are to the left
        ("10.0.0.1", ["192.0.2.66", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),  # through two proxies
        ("10.0.0.1", ["10.7.7.7"], "10.7.7.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, "], None),
        ("10.0.0.1", ["192.0.2.66, unknown"], None),
        ("10.0.0.1", [", ".join(["192.0.2.66", *["10.0.0.2"] * 40])], None),
        (None, ["198.51.100.1"], None),
        ("a socket", ["198.51.100.1"], None),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    assert address_of(peer, forwarded, PROXIES) == (None if address is None else ip_address(address))


@given(st.lists(st.text(max_size=30)))
def test_without_trusted_proxies_no_header_counts(forwarded: list[str]) -> None:
    assert address_of("203.0.113.9", forwarded, ()) == ip_address("203.0.113.9")


@given(st.lists(st.text(max_size=30)))
def test_whatever_a_caller_writes_the_proxy_has_the_last_word(forged: list[str]) -> None:
    assert address_of("10.0.0.1", [*forged, "198.51.100.1"], PROXIES) == ip_address("198.51.100.1")


def test_a_key_with_networks_is_of_no_use_where_nobody_knows_the_address() -> None:
    narrow = Rights(allow=(ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))
    for inside in ("203.0.113.255", "2001:db8::1"):
        admit_from(narrow, ip_address(inside))
    for outside in (None, ip_address("203.0.114.0"), ip_address("2001:db9::1")):
        with pytest.raises(AddressRefused):
            admit_from(narrow, outside)
    admit_from(Rights(), None)


def test_networks_are_read_in_cidr() -> None:
    told = read_networks(["203.0.113.0/24", " 2001:db8::/32", "198.51.100.7", "203.0.113.0/24"])
    assert told == (IPv4Network("203.0.113.0/24"), IPv6Network("2001:db8::/32"), IPv4Network("198.51.100.7/32"))
    for wrong in ("203.0.113.9/24", "example.org", "", "203.0.113.0/33", "::ffff:203.0.113.0/120"):
        with pytest.raises(InvalidField) as refused:
            read_networks([wrong])
        assert refused.value.param == "allow"
    with pytest.raises(InvalidField):
        read_networks(f"192.0.2.{host}" for host in range(51))
