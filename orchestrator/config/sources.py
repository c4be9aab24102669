"""Where settings come from besides arguments: the environment, files of secrets, one TOML file, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, TomlConfigSettingsSource

from orchestrator.domain.errors import ConfigError

PREFIX = "COGMILL_"
SECRETS_DIR = "COGMILL_SECRETS_DIR"


def sources(settings: type[BaseSettings], environment: PydanticBaseSettingsSource) -> list[PydanticBaseSettingsSource]:
    """In the order of their weight: the first that has a key counts."""
    found = [environment]
    if isinstance(environment, EnvSettingsSource):
        # COGMILL_API is where clients find us; ours are COGMILL_API__*
        environment.env_vars = {name: text for name, text in environment.env_vars.items() if name != "cogmill_api"}
        found.append(files(settings))
    if path := os.environ.get("COGMILL_CONFIG"):
        found.append(TomlConfigSettingsSource(settings, Path(path)))
    return found


def files(settings: type[BaseSettings]) -> PydanticBaseSettingsSource:
    """The files of secrets as a source. Raises `ConfigError`."""
    found = EnvSettingsSource(settings)
    found.env_vars = {f"{PREFIX}{name}".lower(): text for name, text in secrets().items()}
    return found


def secrets() -> dict[str, str]:
    """What the files of `COGMILL_SECRETS_DIR` say, by their names, which are keys: `master_key`, `s3__secret_key`.

    Names that begin with a dot are let be: Kubernetes keeps its own beside them. The newline at a file's end is not
    its own. Raises `ConfigError`.
    """
    directory = os.environ.get(SECRETS_DIR)
    if not directory:
        return {}
    try:
        files = sorted(path for path in Path(directory).iterdir() if not path.name.startswith("."))
        return {path.name: text_of(path) for path in files}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{SECRETS_DIR}: {directory} cannot be read: {error}") from error


def text_of(path: Path) -> str:
    """What a file of a secret says. Raises `OSError` or `UnicodeDecodeError`."""
    return path.read_text("utf-8").rstrip("\r\n")


def paths() -> dict[str, Path]:
    """The files of secrets that count, by their keys (`s3__secret_key`): those that the environment does not outdo."""
    given = {name.lower() for name, text in os.environ.items() if text}
    found = {name.lower(): Path(os.environ[SECRETS_DIR]) / name for name in secrets()}
    return {key: path for key, path in found.items() if not given & {f"{PREFIX}{each}".lower() for each in _ways(key)}}


def _ways(key: str) -> tuple[str, str]:
    """What variables may say it: its own, and that of its whole section, in JSON."""
    return key, key.partition("__")[0]


def now(value: str, file: Path | None) -> str:
    """What a value's file says now; the value itself where it has no file, or that cannot be read."""
    if file is None:
        return value
    try:
        return text_of(file)
    except (OSError, UnicodeDecodeError):
        return value


def refuse_unknown(fields: Iterable[str]) -> None:
    """Raise `ConfigError` for `COGMILL_X__Y` without a section X, and for a file of no key: both would be passed over.

    Other variables are let be: Kubernetes itself sets `COGMILL_API_PORT` and the like beside a service of that name.
    """
    known = sorted(name.upper() for name in fields)
    for variable in sorted(os.environ):
        section, nested, _ = variable.removeprefix(PREFIX).partition("__")
        if variable.startswith(PREFIX) and nested and section not in known:
            raise ConfigError(f"{variable}: there is no section {section}; known are {', '.join(known)}")
    for name in secrets():
        if name.partition("__")[0].upper() not in known:
            raise ConfigError(f"{SECRETS_DIR}: {name} is no key; known are {', '.join(known).lower()}")
