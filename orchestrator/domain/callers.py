"""Where a caller is, behind however many proxies, and the networks that a key may be used from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from orchestrator.domain.addresses import IPAddress, IPNetwork
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.rights import MAX_NETWORKS

# More proxies in a row than anybody has.
_MOST_HOPS = 32


def address_of(peer: str | None, forwarded: Sequence[str], trusted: Sequence[IPNetwork]) -> IPAddress | None:
    """The address that a request comes from; None where nobody knows it.

    The connection's peer, unless that is a trusted proxy: then what the proxy says, which is the last one in
    `X-Forwarded-For`; and so on from right to left while that is a trusted proxy too. What a caller writes into the
    header itself stands to the left of that, and is never believed.
    """
    here = parse(peer or "")
    if not trusted:
        return here
    hops = [hop for value in forwarded for hop in value.split(",")]
    for hop in reversed(hops[-_MOST_HOPS:]):
        if here is None or not any(here in network for network in trusted):
            return here
        here = parse(hop)
    return here if len(hops) <= _MOST_HOPS else None


@lru_cache(maxsize=1024)
def parse(text: str) -> IPAddress | None:
    """An address as proxies write it: also with a port, and IPv6 in brackets or with a zone. None where it is none."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def read_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Networks in CIDR, and single addresses. Raises `InvalidField`."""
    networks: list[IPNetwork] = []
    for text in texts:
        try:
            network = ip_network(text.strip())
        except ValueError:
            message = f"{text[:60]!r} is no network such as 203.0.113.0/24, with no bit set behind its length"
            raise InvalidField(message, param="allow") from None
        if getattr(network.network_address, "ipv4_mapped", None) is not None:
            raise InvalidField(f"{text[:60]!r}: write it as IPv4", param="allow")
        if network not in networks:
            networks.append(network)
    if len(networks) > MAX_NETWORKS:
        raise InvalidField(f"at most {MAX_NETWORKS} networks", param="allow")
    return tuple(networks)
