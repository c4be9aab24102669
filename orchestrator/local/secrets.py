"""The secrets of a local stack: made once, one file each, readable by their owner alone."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, fields
from pathlib import Path

from orchestrator.domain.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Secrets:
    """`master_key` derives API keys; the others are the passwords of PostgreSQL, S3 and Ray."""

    master_key: str
    database_password: str
    # Of the roles of the three processes.
    api_database_password: str
    dispatch_database_password: str
    maintain_database_password: str
    s3_access_key: str
    s3_secret_key: str
    ray_token: str


def load_or_make(directory: Path) -> Secrets:
    """Read the secrets, making those that are missing. Raises `ConfigError` for one that cannot be read."""
    return Secrets(**{secret.name: _load_or_make(directory / secret.name) for secret in fields(Secrets)})


def write(path: Path, value: str) -> None:
    """Write a private file, whole or not at all. Raises `ConfigError` when the disk does not take it."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _load_or_make(path: Path) -> str:
    if not path.exists():
        write(path, secrets.token_hex(32))
    try:
        value = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the secret {path}: {error}") from None
    if not value:
        raise ConfigError(f"the secret {path} is empty")
    if not value.isprintable():
        raise ConfigError(f"the secret {path} holds a control character")
    return value
