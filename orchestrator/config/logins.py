"""The processes that may have a role of their own in the database, and what such roles are called."""

from __future__ import annotations

import re
from enum import StrEnum

# What names of roles may begin with: with "_dispatch" behind it, one has PostgreSQL's 63 bytes.
DEPLOYMENT = r"^[A-Za-z_][A-Za-z0-9_-]{0,53}$"


class Login(StrEnum):
    """A process that may have a role of its own. That of the migration owns the tables."""

    # With it the commands for operators, which are run beside it.
    API = "api"
    # Beside it runs whatever holds Ray's token.
    DISPATCH = "dispatch"
    MAINTAIN = "maintain"
    # The controller of clusters.
    CLUSTERS = "clusters"


def names(deployment: str) -> dict[Login, str]:
    """What the roles of a deployment are called. Roles are a whole server's: so the name says whose they are."""
    return {login: f"{deployment}_{login}" for login in Login}


def check_deployment(name: str) -> str:
    """What names of roles may begin with. Raises `ValueError`."""
    if not re.fullmatch(DEPLOYMENT, name):
        raise ValueError(f"{name!r} must be at most 54 letters, digits, '_' and '-', and begin with a letter or '_'")
    return name
