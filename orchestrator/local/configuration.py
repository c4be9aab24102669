"""The configuration that a local stack writes for its own children: cogmill.toml, and their environment."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator import config
from orchestrator.config import Settings
from orchestrator.domain.catalog import TINY_2B, TINY_5B, TINY_5B_I2V, ModelFamily
from orchestrator.domain.errors import ConfigError
from orchestrator.local import environment, postgres, ray
from orchestrator.local.layout import DataDir
from orchestrator.local.portbook import Ports
from orchestrator.local.secrets import Secrets, write

BUCKET = "cogmill"
_MODEL_KEYS = ("default_model", "models", "pools", "shared", "aliases", "adapters", "models_cache", "engine")

# What a laptop serves when nothing else is chosen.
_DEFAULT = (TINY_2B, TINY_5B, TINY_5B_I2V)

# What the vendors' model names mean on a laptop.
_ALIASES = dict.fromkeys(("cogvideox", "cogvideox-2", "cogvideox-flash"), TINY_2B.name) | dict.fromkeys(
    ("cogvideox-3", "sora-2", "sora-2-pro"), TINY_5B.name
)


def tiny_models(path_of: Callable[[ModelFamily], Path], *families: ModelFamily) -> dict[str, Any]:
    """These tiny checkpoints, or the usual ones, with one worker each; the first is the default."""
    families = families or _DEFAULT
    names = [family.name for family in families]
    return {
        "default_model": names[0],
        "aliases": {alias: name for alias, name in _ALIASES.items() if name in names},
        "models": {family.name: {"family": family.name, "source": str(path_of(family))} for family in families},
        "pools": {name: {"model": name, "workers": 1} for name in names},
    }


def read_models(path: Path) -> dict[str, Any]:
    """Models and what belongs to them from a TOML file, instead of the tiny ones; relative paths are the file's.

    Raises `ConfigError` when the file cannot be read or has other keys.
    """
    try:
        chosen = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the models from {path}: {error}") from None
    unknown = sorted(chosen.keys() - set(_MODEL_KEYS))
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]} is none of {', '.join(_MODEL_KEYS)}")
    _resolve(chosen, "models_cache", path.parent)
    for section in ("models", "adapters"):
        tables = chosen.get(section, {})
        if not isinstance(tables, dict):
            raise ConfigError(f"{path}: {section} must be tables, [{section}.NAME]")
        for table in tables.values():
            _resolve(table, "source", path.parent)
            _resolve(table, "path", path.parent)
    return chosen


def _resolve(table: object, key: str, directory: Path) -> None:
    """Make a path absolute; what is a URL, or absent, or no text at all is left for the settings to judge."""
    if isinstance(table, dict) and isinstance(table.get(key), str) and "://" not in table[key]:
        table[key] = str((directory / Path(table[key]).expanduser()).absolute())


def document(ports: Ports, secrets: Secrets, models: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration of a stack, as the TOML file will hold it."""
    s3 = f"http://127.0.0.1:{ports.s3}"
    return {
        "database_url": postgres.url(ports.database, secrets.database_password),
        "master_key": secrets.master_key,
        **models,
        "s3": {
            "endpoint_url": s3,
            "public_url": s3,
            "bucket": BUCKET,
            "access_key": secrets.s3_access_key,
            "secret_key": secrets.s3_secret_key,
        },
        "api": {"port": ports.api},
        "ray": {"address": f"127.0.0.1:{ports.ray}", "cluster": "local"},
        "metrics": {"dispatch_port": ports.dispatch, "maintain_port": ports.maintain},
    }


def establish(data: DataDir, content: Mapping[str, Any]) -> Settings:
    """Check the configuration, write it (its owner alone may read it), and make this process part of the stack.

    Raises `ConfigError` and writes nothing when a key is wrong.
    """
    _disown(content, data)
    os.environ.pop("COGMILL_CONFIG", None)
    settings = config.load(**content)
    write(data.config, to_toml(content))
    enter(data)
    return settings


def enter(data: DataDir) -> None:
    """Make this process and its children part of a stack: their environment names its file, and its Ray's token."""
    _disown(tomllib.loads(data.config.read_text("utf-8")), data)
    os.environ.update({"COGMILL_CONFIG": str(data.config.absolute()), **ray.environment(data.ray_token)})


def _disown(content: Mapping[str, Any], data: DataDir) -> None:
    """Drop what the caller's environment says about these keys, and about what a stack's parts read by themselves.

    The rest (`COGMILL_LOG__LEVEL`) counts.
    """
    owned = {"COGMILL_SECRETS_DIR", *(f"COGMILL_{key}".upper() for key in content)}
    cleaned = environment.cleaned(os.environ, data.home)
    kept = {name: value for name, value in cleaned.items() if name.split("__")[0] not in owned}
    for variable in set(os.environ) - set(kept):
        del os.environ[variable]
    os.environ.update(kept)


def to_toml(content: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """TOML of nested mappings of strings, numbers, booleans, and lists of these."""
    plain = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in plain.items()]
    header = f"\n[{'.'.join(map(_key, path))}]\n" if path and lines else ""
    return header + "".join(lines) + "".join(to_toml(value, (*path, key)) for key, value in tables.items())


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: object) -> str:
    """A JSON string is a TOML basic string, but for U+007F, and for the surrogate pairs that JSON escapes to."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
