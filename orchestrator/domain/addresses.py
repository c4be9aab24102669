"""Which addresses a stranger's URL may lead us to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# What a network that speaks only IPv6 reaches IPv4 through (RFC 6052): as public as the address in its last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")

# All that is assigned for use on the internet (RFC 4291): nothing outside of it is anybody's server.
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# What `is_global` lets through, wholly, in part or in some releases of Python, and what no server of a picture or of a
# webhook stands behind.
_REFUSED = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's metadata, on a public address
        "192.0.0.0/24",  # protocol assignments (RFC 6890), anycast to the nearest gateway among them
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "2001::/23",  # protocol assignments, Teredo with an IPv4 address in it among them (RFC 4380)
        "2002::/16",  # 6to4, with an IPv4 address in it (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where strangers' URLs may lead us: to what is public, and what an operator adds to that or takes from it."""

    # Let through although they are not public.
    allow: tuple[IPNetwork, ...] = ()
    # Not reached, whatever else is said of them.
    deny: tuple[IPNetwork, ...] = ()
    # None: all of them.
    ports: tuple[int, ...] | None = None

    def takes(self, address: IPAddress) -> bool:
        """Whether a connection may go to this address."""
        return not _within(address, self.deny) and may_reach(address, self.allow)

    def calls(self, port: int) -> bool:
        """Whether a connection may go to this port."""
        return self.ports is None or port in self.ports


def may_reach(address: IPAddress, allowed: Iterable[IPNetwork]) -> bool:
    """Whether a connection may go there: it is public, or in one of the networks that the operator lets through."""
    return is_public(address) or _within(address, allowed)


def _within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    meant = _meant(address)
    return any(meant in network or address in network for network in networks)


def is_public(address: IPAddress) -> bool:
    """Whether an address is some server's on the open internet.

    Not so: private, loopback, link-local, shared (RFC 6598), multicast, reserved, unspecified, documentation, and cloud
    metadata addresses, nor IPv6 addresses with one of these inside.
    """
    meant = _meant(address)
    if any(meant in network for network in _REFUSED):
        return False
    if isinstance(meant, IPv6Address) and meant not in _GLOBAL_UNICAST:
        return False
    return meant.is_global and not meant.is_multicast


def _meant(address: IPAddress) -> IPAddress:
    """The IPv4 address that packets to a mapped or translated address end at, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine by its name or its number: what goes there goes through no proxy."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
