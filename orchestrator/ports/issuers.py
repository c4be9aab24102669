"""How an issuer of people's tokens is asked for its public keys."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

# What it answers: a set of keys (RFC 7517, section 5), or whatever else. Raises `IssuerUnavailable` within its time.
Fetch = Callable[[], Coroutine[Any, Any, Mapping[str, Any]]]
