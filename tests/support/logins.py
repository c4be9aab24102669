"""Stores as processes with roles of their own have them: what a test's process does, it does with its role's rights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from orchestrator.config import Settings
from orchestrator.config.database import Access
from orchestrator.config.logins import Login, names
from orchestrator.store import Store
from orchestrator.store.granting import provide

DEPLOYMENT = "tests"
PASSWORD = "a-role-of-the-tests"

# Ports of servers that have the roles.
_SERVERS: set[int | None] = set()

# Stores that act for others, one for each role.
_OPEN: dict[tuple[Store, Login], Store] = {}


def make_logins(owner_url: str) -> Access:
    """Make the roles on this server; the way to the database with which a migration finds them."""
    access = Access(url=owner_url, roles=DEPLOYMENT)
    provide(access, dict.fromkeys(Login, PASSWORD))
    _SERVERS.add(urlsplit(owner_url).port)
    return access


def url_of(login: Login, database_url: str) -> str:
    """The same database for a role. Where the server has none, the URL as it is: for servers of a test's own."""
    parts = urlsplit(database_url)
    if parts.port not in _SERVERS:
        return database_url
    at = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{names(DEPLOYMENT)[login]}:{PASSWORD}@{at}").geturl()


def as_api(settings: Settings) -> Settings:
    """Settings as an API process has them, and the commands that are run beside it."""
    return settings.model_copy(update={"database_url": url_of(Login.API, settings.database_url)})


def acting(store: Any, login: Login) -> Any:
    """A store on the same database for a role, which closes with this one. What only passes for a store stays."""
    if type(store) is not Store:
        return store
    access = replace(store._access, url=url_of(login, store._access.url))
    if access == store._access:
        return store
    if (store, login) not in _OPEN:
        _OPEN[store, login] = Store(access, limits=store._defaults)
        _close_with(store, login)
    return _OPEN[store, login]


def _close_with(store: Store, login: Login) -> None:
    close = store.close

    async def both() -> None:
        await _OPEN.pop((store, login)).close()
        await close()

    store.close = both  # type: ignore[method-assign]
