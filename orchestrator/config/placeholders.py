"""Secrets that nobody has chosen yet: what examples have in their place is refused, whoever reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

# As a word: `exchange-me.example` is somebody's host.
_PLACEHOLDER = re.compile(r"(?<![a-z])change[-_ ]?me(?![a-z])", re.IGNORECASE)

# Ray reads them itself.
_RAY = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def refuse(secrets: Mapping[str, str | SecretStr | None]) -> None:
    """Raise `ValueError`, which names the setting and never its value, where one is still what an example says."""
    for name, secret in secrets.items():
        value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        if value is not None and _PLACEHOLDER.search(value):
            raise ValueError(f"{name} is still the placeholder of an example (change-me): choose a secret of your own")


def rays() -> dict[str, str | None]:
    """Ray's token by the name of its variable, as this process would present it; a file that is not there is none."""
    token, path = (os.environ.get(name) for name in _RAY)
    try:
        kept = Path(path).read_text("utf-8") if path else None
    except (OSError, UnicodeDecodeError):
        kept = None
    return {"RAY_AUTH_TOKEN": token, "RAY_AUTH_TOKEN_PATH": kept}
