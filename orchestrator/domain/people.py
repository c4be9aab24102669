"""What the claims of a person's token mean here: a tenant, and scopes. Pure.

An issuer says who somebody is, and the settings what that is worth: no claim names a scope by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.domain.errors import NoAccess
from orchestrator.domain.rights import ROLES, USUAL, Scope

USUAL_WORD = "usual"
# What the settings may give by the value of a claim. Scopes that concern every tenant come as roles alone.
WORDS: Mapping[str, frozenset[Scope]] = {
    **{role.value: scopes for role, scopes in ROLES.items()},
    USUAL_WORD: USUAL,
    **{scope.value: frozenset({scope}) for scope in Scope if scope in USUAL},
}

# OpenID Connect Core 1.0, section 2: `sub` has at most 255 characters.
MAX_SUBJECT = 255
# Of a tenant's name, as far as one is looked for.
_MAX_TENANT = 200
_MAX_VALUES = 1000


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a JSON pointer (RFC 6901) into what is nested; None where it is not there."""
    if not name.startswith("/"):
        return claims.get(name)
    found: Any = claims
    for part in name[1:].split("/"):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part.replace("~1", "/").replace("~0", "~"))
    return found


def tenant_of(claims: Mapping[str, Any], name: str, known: Mapping[str, str]) -> str:
    """The tenant that a claim names; raises `NoAccess`. `known` says what its values mean, if it is not empty."""
    value = claim_of(claims, name)
    if value is None:
        raise NoAccess(f"the token has no claim {name!r}, which names the tenant")
    if not isinstance(value, str) or not value or len(value) > _MAX_TENANT or not value.isprintable():
        raise NoAccess(f"the token's claim {name!r} is no tenant's name")
    if not known:
        return value
    if value not in known:
        raise NoAccess(f"the token's claim {name!r} stands for no tenant here")
    return known[value]


def scopes_of(
    claims: Mapping[str, Any], name: str, roles: Mapping[str, Iterable[str]], everybody: Iterable[str]
) -> frozenset[Scope]:
    """What all values of a claim give, together, and what everybody has. Raises `NoAccess` where that is nothing."""
    words = {*everybody, *(word for value in _values(claim_of(claims, name)) for word in roles.get(value, ()))}
    if not words:
        raise NoAccess(f"the token's claim {name!r} gives no role here")
    return frozenset().union(*(WORDS[word] for word in words))


def _values(claim: Any) -> Iterable[str]:
    """A text, or the texts of a list; of anything else nothing."""
    values = claim if isinstance(claim, list) else [claim]
    return (value for value in values[:_MAX_VALUES] if isinstance(value, str))
