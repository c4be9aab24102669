"""The database's URL: read in one place for every connection, and what is not supported refused by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from orchestrator.config import sources

# Options of libpq that asyncpg obeys when they are in a URL (asyncpg, `connect_utils._parse_connect_dsn_and_args`).
_DRIVERS = (
    "host", "port", "dbname", "database", "user", "password", "passfile", "service",
    "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib",
)  # fmt: skip
# Those that we obey: `ssl` is SQLAlchemy's name of `sslmode`.
_OURS = ("ssl", "application_name", "connect_timeout", "target_session_attrs")
OPTIONS = (*_DRIVERS, *_OURS)

_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Whoever writes has no use for a standby.
_WRITERS = ("read-write", "primary")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Where the database is and how to be let in."""

    # For asyncpg; it holds the password.
    dsn: str
    # For people; it does not.
    shown: str
    # None where the URL says nothing, as with the next one.
    application_name: str | None
    connect_timeout_s: float | None
    target_session_attrs: str
    # Empty where the URL names none.
    database: str

    @classmethod
    def parse(cls, url: str, key: str = "database_url") -> Self:
        """Read a URL. Raises `ValueError`, which names `key` and the option, and never the password."""
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError(f"{key} must start with postgresql://")
        parts = urlsplit(url)
        _check_quoted(key, parts)
        hosts = parts.netloc.rpartition("@")[2]
        _check_ports(key, hosts)
        options = _options(key, parts)
        name = options.pop("application_name", None)
        target = options.pop("target_session_attrs", _WRITERS[0])
        if target not in _WRITERS:
            raise ValueError(f"{key}: target_session_attrs={target} would reach a standby; known are {_said(_WRITERS)}")
        timeout = _seconds(key, options.pop("connect_timeout", None))
        return cls(
            dsn=parts._replace(query=urlencode(options, quote_via=quote)).geturl(),
            shown=f"{hosts or options.get('host', 'localhost')}{parts.path}",
            application_name=name,
            connect_timeout_s=timeout,
            target_session_attrs=target,
            database=unquote(parts.path.lstrip("/")) or options.get("dbname", options.get("database", "")),
        )


def _check_quoted(key: str, parts: SplitResult) -> None:
    """A password that ends the host's part early: what follows would be shown as a database, or as an option."""
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if "@" not in parts.netloc and any("@" in each for each in (parts.path, parts.fragment, *names)):
        raise ValueError(f"{key}: in a name or a password write / as %2F, ? as %3F, # as %23 and @ as %40")


def _check_ports(key: str, hosts: str) -> None:
    for host in hosts.split(","):
        _, colon, port = host.rpartition("]")[2].rpartition(":")
        if colon and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{key} has no valid port")


def _options(key: str, parts: SplitResult) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS:
            raise ValueError(f"{key} has the option {name!r}; known are {_said(OPTIONS)}")
        if name in options:
            raise ValueError(f"{key} has the option {name!r} twice")
        if not value:
            raise ValueError(f"{key} has the option {name!r} without a value")
        options[name] = value
    if "ssl" in options:
        if "sslmode" in options:
            raise ValueError(f"{key} has both ssl and sslmode, which mean the same")
        options["sslmode"] = options.pop("ssl")
    mode = options.get("sslmode", _MODES[0])
    if mode not in _MODES:
        raise ValueError(f"{key}: sslmode={mode} is none of {_said(_MODES)}")
    return options


def _seconds(key: str, text: str | None) -> float | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{key}: connect_timeout must be whole seconds, at least 1")
    return float(text)


def _said(names: tuple[str, ...]) -> str:
    return ", ".join(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a process reaches the database."""

    url: str
    # A pooler in transaction mode is in between.
    transaction_pooling: bool = False
    # The way around the pooler.
    listen_url: str | None = None
    # What the names of the deployment's roles begin with; none: the database's name.
    roles: str | None = None
    # The files that the URLs come from, where they do. Each connection is made by what they say then.
    url_file: Path | None = None
    listen_file: Path | None = None

    @classmethod
    def to(cls, database: str | Self) -> Self:
        """A bare URL is a database without a pooler in transaction mode."""
        return cls(url=database) if isinstance(database, str) else database

    @property
    def address(self) -> DatabaseAddress:
        """As it is now. Raises `ValueError` when its file has come to say what cannot be."""
        return DatabaseAddress.parse(sources.now(self.url, self.url_file))

    @property
    def direct(self) -> DatabaseAddress:
        """Without a pooler between: for LISTEN, and for changes of the schema. Raises as `address` does."""
        if self.listen_url is None:
            return self.address
        return DatabaseAddress.parse(sources.now(self.listen_url, self.listen_file), "listen_url")
