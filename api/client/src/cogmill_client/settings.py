"""Which API a client talks to, with which key: what its caller says, else the environment, else a profile."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

import httpx

from cogmill_client import profiles
from cogmill_client.errors import ConfigurationError

API, KEY, PROFILE = "COGMILL_API", "COGMILL_KEY", "COGMILL_PROFILE"
TIMEOUT_S = 60.0
MAX_RETRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every request needs to know. `base_url` has no slash at its end."""

    base_url: str
    api_key: str = field(repr=False)
    timeout_s: float = TIMEOUT_S
    max_retries: int = MAX_RETRIES
    user_agent: str = ""


def resolve(
    *, api_key: str | None, base_url: str | None, profile: str | None, timeout_s: float, max_retries: int
) -> Settings:
    """The settings of a client. Raises `ConfigurationError`, which says what to set.

    API and key come from one place, so that no key is sent to an API that it was not meant for: a profile that is
    named (here or by COGMILL_PROFILE), else COGMILL_API with COGMILL_KEY, else the default profile. What the caller
    gives wins over each.
    """
    if timeout_s <= 0 or max_retries < 0:
        raise ConfigurationError("timeout must be more than 0, and max_retries 0 or more")
    if base_url is None or api_key is None:
        found_url, found_key = _found(profile, given_url=base_url)
        base_url, api_key = base_url or found_url, api_key or found_key
    if not base_url:
        raise ConfigurationError(f"no API to talk to: give base_url, set {API}, or make a profile")
    if not api_key:
        raise ConfigurationError(f"no key for {base_url}: give api_key, set {KEY}, or make a profile")
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConfigurationError("api_key: a key is printable ASCII without spaces")
    return Settings(
        base_url=checked_url(base_url),
        api_key=api_key,
        timeout_s=timeout_s,
        max_retries=max_retries,
        user_agent=f"cogmill-client/{_version()}",
    )


def checked_url(text: str) -> str:
    """A base URL, without what other clients want behind it. Raises `ConfigurationError` for what is none."""
    try:
        url = urlsplit(text.strip())
        good = url.scheme in ("http", "https") and bool(url.hostname) and not url.query and not url.fragment
        good = good and url.port != 0 and bool(httpx.URL(text.strip()).host)
    except (ValueError, httpx.InvalidURL):
        good = False
    if not good:
        raise ConfigurationError(f"base_url: {text!r} is no http or https URL")
    return text.strip().rstrip("/").removesuffix("/v1").rstrip("/")


def _found(profile: str | None, *, given_url: str | None) -> tuple[str | None, str | None]:
    """API and key of one place."""
    named = profile or os.environ.get(PROFILE)
    if named:
        chosen = profiles.read().get(named)
        return chosen.api, chosen.key
    url, key = os.environ.get(API), os.environ.get(KEY)
    if url or key or given_url:
        return url, key
    known = profiles.read()
    if known.default is None:
        return None, None
    chosen = known.get(known.default)
    return chosen.api, chosen.key


def _version() -> str:
    try:
        return version("cogmill-client")
    except PackageNotFoundError:  # run from its source
        return "0"
