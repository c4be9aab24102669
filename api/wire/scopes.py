"""Which scope a route asks for: written into its document, and read back from there when somebody calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.domain.rights import Scope

_KEY = "api_key"


def keyed(scope: Scope) -> dict[str, Any]:
    """`openapi_extra` of a route that needs a key with this scope: what is documented is what is asked for."""
    return {"security": [{_KEY: [scope.value]}]}


def scope_of(extra: Mapping[str, Any] | None) -> Scope:
    """The scope that a route's `openapi_extra` names. Raises `LookupError` for a route that nobody gave one."""
    return Scope((extra or {})["security"][0][_KEY][0])


SECURITY_SCHEMES = {
    _KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "`Authorization: Bearer id.secret`, or a JSON Web Token signed with the secret (HS256; claims `api_key`, "
            "`exp` and `timestamp` in milliseconds), as the bigmodel SDKs make it; or, where the deployment names "
            "its issuer, a person's OpenID Connect token. `Bearer` may be left out.\n\n"
            "Each route names the scope that a key must have for it, of: "
            + ", ".join(f"`{scope}`" for scope in Scope)
            + "."
        ),
    }
}
