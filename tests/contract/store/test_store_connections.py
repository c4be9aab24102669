"""One URL for every connection: its TLS, its options, its hosts."""

from __future__ import annotations

import asyncio
import re
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from orchestrator.config.database import DatabaseAddress
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.store import Store, migrate, schema_version
from tests.support.certificates import certificate
from tests.support.moving import tls_before
from tests.support.postgres import Server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The server's own certificate, and somebody else's."""
    folder = tmp_path_factory.mktemp("tls")
    return {name: certificate(folder / name) for name in ("own", "other")}


@pytest.mark.parametrize(
    "options",
    [
        "ssl=require",
        "sslmode=verify-full&sslrootcert={own}",
        "ssl=verify-ca&sslrootcert={own}&connect_timeout=4&application_name=x",
    ],
)
async def test_every_connection_obeys_the_urls_tls(
    database_url: str, certificates: dict[str, tuple[Path, Path]], options: str
) -> None:
    own, key = certificates["own"]
    async with tls_before(database_url, own, key) as url:
        url = f"{url}?{options.format(own=own)}"
        async with Store.open(url) as store:
            assert await store.deployment_id()
            assert await store.hears(within_s=5)
            async with store.wakeups() as wakeups:
                assert await wakeups.wait(5)
        await asyncio.to_thread(migrate, url)
        current, newest = await asyncio.to_thread(schema_version, url)
        assert current == newest


@pytest.mark.parametrize(("authority", "trusted"), [("own", True), ("other", False)])
async def test_the_environments_certificate_authority_counts_where_the_url_names_none(
    database_url: str,
    certificates: dict[str, tuple[Path, Path]],
    monkeypatch: pytest.MonkeyPatch,
    authority: str,
    trusted: bool,
) -> None:
    """As the chart's `caBundle` sets it. A `require` then verifies, too."""
    monkeypatch.setenv("PGSSLROOTCERT", str(certificates[authority][0]))
    async with tls_before(database_url, *certificates["own"]) as url:
        for mode in ("require", "verify-full"):
            async with Store.open(f"{url}?sslmode={mode}") as store:
                with nullcontext() if trusted else pytest.raises(StoreUnavailable):
                    assert await store.deployment_id()


@pytest.mark.parametrize(
    "options", ["sslmode=disable", "sslmode=verify-full&sslrootcert={other}", "ssl=verify-ca&sslrootcert=/nowhere"]
)
async def test_a_server_that_is_not_the_one_meant_is_refused(
    database_url: str, certificates: dict[str, tuple[Path, Path]], options: str
) -> None:
    async with tls_before(database_url, *certificates["own"]) as url:
        url = f"{url}?{options.format(other=certificates['other'][0])}"
        async with Store.open(url) as store:
            with pytest.raises(StoreUnavailable):
                await store.deployment_id()
            with pytest.raises(StoreUnavailable):
                await store.hears(within_s=5)
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(schema_version, url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://x/y", "postgresql://"),
        ("postgresql://h:nine/x", "port"),
        ("postgresql://h/x?channel_binding=require", "channel_binding"),
        ("postgresql://h/x?options=-cjit%3Doff", "options"),
        ("postgresql://h/x?sslmode=maybe", "maybe"),
        ("postgresql://h/x?ssl=require&sslmode=require", "both"),
        ("postgresql://h/x?target_session_attrs=standby", "standby"),
        ("postgresql://h/x?connect_timeout=soon", "connect_timeout"),
        ("postgresql://h/x?sslmode=", "sslmode"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        DatabaseAddress.parse(url.replace("://", "://u:secret@"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("mark", "/?#")
def test_a_password_that_would_be_read_as_something_else_is_refused_and_not_shown(mark: str) -> None:
    """It begins with digits: what is before the mark is a valid port."""
    with pytest.raises(ValueError, match="%2F") as refused:
        DatabaseAddress.parse(f"postgresql://u:54{mark}secret@h/x")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("mark", "@:/?# %+")
def test_any_password_is_taken_when_it_is_quoted(mark: str) -> None:
    address = DatabaseAddress.parse(f"postgresql://u:54{quote(mark, safe='')}secret@h/x?connect_timeout=3")
    assert (address.shown, address.database, address.connect_timeout_s) == ("h/x", "x", 3)
    assert unquote(urlsplit(address.dsn).password or "") == f"54{mark}secret"


async def test_the_first_of_several_hosts_that_writes_is_taken(database_url: str, postgres_server: Server) -> None:
    several = database_url.replace("@127.0.0.1:", "@127.0.0.1:1,127.0.0.1:")
    async with Store.open(several) as store:
        assert await store.deployment_id()
        assert await store.hears(within_s=5)
