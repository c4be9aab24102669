"""Which addresses a user's URL may lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.addresses import is_public, may_reach

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001:81b::200e", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]

NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "192.0.0.9", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("100.64.0.1", "100.100.100.200", "168.63.129.16", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1", "::8.8.8.8"),
    *("2001::1", "2001:db8::1", "2002:808:808::1", "3fff::1", "5f00::1", "64:ff9b:1::1", "::ffff:0:8.8.8.8"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b::224.0.0.1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert is_public(ip_address(address))
    assert may_reach(ip_address(address), ())


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_may_not(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not may_reach(ip_address(address), ())


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_is_more_public_than_the_ipv4_address_inside_it(inner: IPv4Address) -> None:
    packed = int(inner)
    wrapped = {
        "mapped": IPv6Address(0xFFFF << 32 | packed),
        "translated": IPv6Address(0x64FF9B << 96 | packed),
        "6to4": IPv6Address(0x2002 << 112 | packed << 80 | 1),
        "Teredo": IPv6Address(0x20010000 << 96 | packed ^ 0xFFFFFFFF),
        "compatible": IPv6Address(packed),
    }
    for how, address in wrapped.items():
        assert is_public(inner) or not is_public(address), how


@given(st.ip_addresses(v=6))
def test_public_ipv6_is_global_unicast_or_stands_for_public_ipv4(address: IPv6Address) -> None:
    if is_public(address):
        assert address in ip_network("2000::/3") or address.ipv4_mapped or address in ip_network("64:ff9b::/96")


def test_a_network_that_is_let_through_is_so_in_every_spelling_and_nothing_else_is() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00:1::5", "8.8.8.8"):
        assert may_reach(ip_address(address), allowed), address
    for address in ("10.2.0.1", "::ffff:10.2.0.1", "fd00:2::5", "127.0.0.1"):
        assert not may_reach(ip_address(address), allowed), address
