"""The user's profiles on disk: which API to talk to, with which key, by name.

`$XDG_CONFIG_HOME/cogmill/config.toml`, else `~/.config/cogmill/config.toml`:

    default_profile = "work"

    [profiles.work]
    api = "https://video.example.com"
    key = "..."
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cogmill_client.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEAD = "# Profiles of Cogmill: `cogmill profile` writes this file, which holds keys.\n"


@dataclass(frozen=True, slots=True)
class Profile:
    """One API and the key for it."""

    api: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Profiles:
    """All of them; `default` names the one that is used when nothing else says which."""

    named: Mapping[str, Profile] = field(default_factory=dict)
    default: str | None = None

    def get(self, name: str) -> Profile:
        """Raises `ConfigurationError` for a name that is none."""
        try:
            return self.named[name]
        except KeyError:
            known = ", ".join(self.named) or "none"
            raise ConfigurationError(f"there is no profile {name!r} in {path()}; it has: {known}") from None

    def having(self, name: str, profile: Profile) -> Profiles:
        """With one more, or another one of that name; the first one is the default. Raises `ConfigurationError`."""
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"the profile's name {name!r} must be 1 to 64 letters, digits, - or _")
        return replace(self, named={**self.named, name: profile}, default=self.default or name)

    def using(self, name: str) -> Profiles:
        """With this one as the default. Raises `ConfigurationError` for a name that is none."""
        self.get(name)
        return replace(self, default=name)


def path() -> Path:
    """Where the file is, or would be."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "")
    # A relative one is to be ignored (XDG Base Directory Specification).
    root = base if base.is_absolute() else Path("~/.config").expanduser()
    return root / "cogmill" / "config.toml"


def read() -> Profiles:
    """The user's profiles; none where there is no file. Raises `ConfigurationError` for one that cannot be read."""
    where = path()
    try:
        content = tomllib.loads(where.read_text("utf-8"))
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the profiles in {where}: {error}") from None
    named = content.get("profiles", {})
    default = content.get("default_profile")
    if not isinstance(named, dict) or not isinstance(default, str | None):
        raise ConfigurationError(f"{where}: profiles are tables [profiles.NAME], default_profile is the name of one")
    return Profiles({name: _profile(where, name, said) for name, said in named.items()}, default)


def write(profiles: Profiles) -> Path:
    """Write the file, whole or not at all, readable by its owner alone. Raises `ConfigurationError`."""
    where = path()
    partial = where.with_name(f"{where.name}.{os.getpid()}.partial")
    try:
        where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(_toml(profiles))
        partial.replace(where)
    except OSError as error:
        raise ConfigurationError(f"cannot write {where}: {error.strerror}") from None
    return where


def _profile(where: Path, name: str, said: object) -> Profile:
    if not isinstance(said, dict) or not isinstance(said.get("api"), str) or not isinstance(said.get("key"), str):
        raise ConfigurationError(f"{where}: [profiles.{name}] must have api and key, both texts")
    if unknown := said.keys() - {"api", "key"}:
        raise ConfigurationError(f"{where}: [profiles.{name}] has the unknown key {min(unknown)}")
    return Profile(said["api"], said["key"])


def _toml(profiles: Profiles) -> str:
    default = "" if profiles.default is None else f"default_profile = {_text(profiles.default)}\n"
    tables = (
        f"\n[profiles.{_text(name)}]\napi = {_text(profile.api)}\nkey = {_text(profile.key)}\n"
        for name, profile in profiles.named.items()
    )
    return _HEAD + default + "".join(tables)


def _text(value: str) -> str:
    # Between its quotes, JSON's escapes of ASCII are TOML's, but for surrogate pairs and DEL.
    if not value.isprintable() or not value.isascii():
        raise ConfigurationError("names, URLs and keys of profiles are printable ASCII")
    return json.dumps(value)
