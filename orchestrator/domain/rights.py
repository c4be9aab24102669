"""What a key may do, from where, and until when; and that no key makes another that may more. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from orchestrator.domain.addresses import IPAddress, IPNetwork
from orchestrator.domain.errors import AddressRefused, BeyondOwn, InvalidField, MissingScope


class Scope(StrEnum):
    """One kind of request. Every route that needs a key names the one that it needs."""

    # See videos, files, batches, campaigns, models and use.
    READ = "read"
    # Make, cancel and delete videos, files and batches.
    SUBMIT = "submit"
    # Make, change, approve, stop and delete campaigns.
    CAMPAIGNS = "campaigns"
    # Webhook endpoints, their secrets and what was delivered.
    WEBHOOKS = "webhooks"
    # The tenant's keys.
    KEYS = "keys"
    # What concerns every tenant: pools, workers, predictions, everybody's use.
    OPERATE = "operate"
    # See what concerns every tenant, and change none of it.
    VIEW = "view"
    # Make, change and erase tenants; their limits and their keys.
    ADMIN = "admin"


# Those of a key that was made without naming any, as every key was before there were scopes.
USUAL = frozenset({Scope.READ, Scope.SUBMIT, Scope.CAMPAIGNS, Scope.WEBHOOKS, Scope.KEYS})


class Role(StrEnum):
    """What an administrator is: the name of some scopes, each role's within the next one's."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


ROLES = {
    Role.VIEWER: frozenset({Scope.VIEW}),
    Role.OPERATOR: frozenset({Scope.VIEW, Scope.OPERATE}),
    Role.ADMIN: frozenset({Scope.VIEW, Scope.OPERATE, Scope.ADMIN}),
}

# What is asked for with these is recorded, and also where it is refused.
ADMINISTRATIVE = frozenset({Scope.WEBHOOKS, Scope.KEYS, Scope.OPERATE, Scope.VIEW, Scope.ADMIN})

MAX_NETWORKS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What one key may."""

    scopes: frozenset[Scope] = USUAL
    # Networks that it may be used from; none: from anywhere.
    allow: tuple[IPNetwork, ...] = ()
    # From then on it is good for nothing; None: until it is revoked.
    expires_at: datetime | None = None


# Those of every key that was made before keys had any.
UNBOUND = Rights()


class Standing(Enum):
    """Whether a key is good, and why it is not."""

    GOOD = "good"
    REVOKED = "revoked"
    EXPIRED = "expired"


def standing(rights: Rights, revoked_at: datetime | None, now: datetime) -> Standing:
    """How a key with these rights stands. One that was revoked is that, whether or not it has expired since."""
    if revoked_at is not None:
        return Standing.REVOKED
    return Standing.EXPIRED if rights.expires_at is not None and now >= rights.expires_at else Standing.GOOD


def with_operators(scopes: frozenset[Scope], *, operator: bool) -> frozenset[Scope]:
    """These, and the one of operators where the key is to be one's."""
    return scopes | {Scope.OPERATE} if operator else scopes


def read_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes of these names. Raises `InvalidField`."""
    known = [scope.value for scope in Scope]
    scopes = set()
    for word in words:
        if word not in known:
            raise InvalidField(f"{word[:40]!r} is no scope; there are: {', '.join(known)}", param="scopes")
        scopes.add(Scope(word))
    if not scopes:
        raise InvalidField("names no scope", param="scopes")
    return frozenset(scopes)


def read_role(word: str) -> Role:
    """The role of this name. Raises `InvalidField`."""
    if word not in list(Role):
        raise InvalidField(f"{word[:40]!r} is no role; there are: {', '.join(Role)}", param="role")
    return Role(word)


def scopes_of(role: Role | None, named: frozenset[Scope] | None, *, usual: frozenset[Scope]) -> frozenset[Scope]:
    """Those of a role and those that are named, together; the usual ones where neither is said."""
    if role is None:
        return usual if named is None else named
    return ROLES[role] | (named or frozenset())


def known_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Those of these names that this release knows: a newer one's scope is none here."""
    return frozenset(scope for scope in Scope if scope.value in set(words))


def need(rights: Rights, scope: Scope) -> None:
    """Raise `MissingScope` where a key may not make requests of this kind."""
    if scope not in rights.scopes:
        raise MissingScope(scope.value, operators=scope is Scope.OPERATE)


def admit_from(rights: Rights, address: IPAddress | None) -> None:
    """Raise `AddressRefused` where a key may not be used from there. None is an address that nobody knows."""
    if rights.allow and (address is None or not any(address in network for network in rights.allow)):
        raise AddressRefused(f"this key may not be used from {address or 'an address that is not known'}")


def check_within(asked: Rights, own: Rights) -> None:
    """Raise `BeyondOwn`, which names the field, where a key would make one that may more than itself."""
    if more := sorted(asked.scopes - own.scopes):
        raise BeyondOwn(f"a key cannot give what it has not: {', '.join(more)}", param="scopes")
    if own.expires_at is not None and (asked.expires_at is None or asked.expires_at > own.expires_at):
        until = f"{own.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        raise BeyondOwn(f"a key cannot make one that outlives it; it expires at {until}", param="expires_at")
    if own.allow and not _covers(own.allow, asked.allow):
        raise BeyondOwn(
            f"a key cannot make one for more addresses than its own: {', '.join(map(str, own.allow))}", param="allow"
        )


def _covers(wide: Collection[IPNetwork], narrow: Collection[IPNetwork]) -> bool:
    """Whether all of `narrow`, of which none is everywhere, lies within `wide`; two halves cover their whole."""
    whole: list[IPNetwork] = [
        *collapse_addresses(it for it in wide if isinstance(it, IPv4Network)),
        *collapse_addresses(it for it in wide if isinstance(it, IPv6Network)),
    ]
    return bool(narrow) and all(any(_within(each, of) for of in whole) for each in narrow)


def _within(narrow: IPNetwork, wide: IPNetwork) -> bool:
    if isinstance(narrow, IPv4Network):
        return isinstance(wide, IPv4Network) and narrow.subnet_of(wide)
    return isinstance(wide, IPv6Network) and narrow.subnet_of(wide)
