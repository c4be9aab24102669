"""One URL for every connection: its TLS, its options, its hosts."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.config.database import DatabaseAddress
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.store import Store, migrate, schema_version
from tests.support.moving import tls_before
from tests.support.postgres import Server


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    folder.mkdir()
    (folder / "crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return folder / "crt", folder / "key"


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


async def test_the_first_of_several_hosts_that_writes_is_taken(database_url: str, postgres_server: Server) -> None:
    several = database_url.replace("@127.0.0.1:", "@127.0.0.1:1,127.0.0.1:")
    async with Store.open(several) as store:
        assert await store.deployment_id()
        assert await store.hears(within_s=5)
