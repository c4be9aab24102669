"""Servers that are not who they are taken for: PostgreSQL's, S3's and receivers of webhooks, by certificates alone.

Each is a real server with a certificate of an authority of its own. The embedded PostgreSQL is built without TLS, so
pgbouncer, which is, stands before it and takes nothing else.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.s3_urls import UrlObjects, Wallet
from orchestrator.adapters.webhook_http import HttpSender
from orchestrator.config import FetchSettings, S3Settings
from orchestrator.config.database import Access
from orchestrator.domain.errors import ObjectsUnavailable, StoreUnavailable
from orchestrator.domain.webhooks import Answer, Reply, Silence
from orchestrator.local import process, s3
from orchestrator.store import Store, migrate, schema_version
from tests.support.certificates import issued
from tests.support.moving import pgbouncer
from tests.support.s3 import ACCESS_KEY, SECRET_KEY
from tests.support.sockets import free_port

Issued = dict[str, tuple[Path, Path, Path]]


@pytest.fixture(scope="module")
def certificates() -> Iterator[Issued]:
    """The meant server's, one for another host by the same kind of authority, and a stranger's authority."""
    # Not below pytest's own folder, which is closed: where the tests are root's, pgbouncer is another user's.
    folder = Path(tempfile.mkdtemp(prefix="cogmill-tls-"))
    made = {
        "ours": issued(folder / "ours", "127.0.0.1", "localhost"),
        "elsewhere": issued(folder / "elsewhere", "db.elsewhere.example", "127.0.0.9"),
        "strangers": issued(folder / "strangers", "127.0.0.1"),
    }
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield made
    shutil.rmtree(folder)


# ------------------------------------------------------------ PostgreSQL


def _tls(made: tuple[Path, Path, Path]) -> str:
    """pgbouncer's settings: TLS alone, and one connection behind each, as LISTEN needs it."""
    _, crt, key = made
    return (
        f"pool_mode = session\nclient_tls_sslmode = require\nclient_tls_cert_file = {crt}\nclient_tls_key_file = {key}"
    )


def access(url: str) -> Access:
    """As behind any pooler, which knows none of our settings of a session."""
    return Access(url=url, transaction_pooling=True, listen_url=url)


async def test_verify_full_holds_for_every_connection_to_the_database(database_url: str, certificates: Issued) -> None:
    """Queries, LISTEN and migrations; by the address and by the name that the certificate has."""
    own = certificates["ours"]
    with pgbouncer(database_url, _tls(own)) as url:
        for host in ("127.0.0.1", "localhost"):
            verified = f"{url.replace('127.0.0.1', host)}?sslmode=verify-full&sslrootcert={own[0]}"
            async with Store.open(access(verified)) as store:
                assert await store.deployment_id()
                assert await store.hears(within_s=5)
                async with store.wakeups() as wakeups:
                    assert await wakeups.wait(5)
        await asyncio.to_thread(migrate, verified)
        current, newest = await asyncio.to_thread(schema_version, verified)
        assert current == newest
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(schema_version, f"{url}?sslmode=disable")


@pytest.mark.parametrize(
    ("server", "trusted"), [("elsewhere", "elsewhere"), ("ours", "strangers"), ("strangers", "ours")]
)
async def test_a_database_under_another_name_or_of_another_authority_gets_no_password(
    database_url: str, certificates: Issued, server: str, trusted: str
) -> None:
    with pgbouncer(database_url, _tls(certificates[server])) as url:
        url = f"{url}?sslmode=verify-full&sslrootcert={certificates[trusted][0]}"
        async with Store.open(access(url)) as store:
            with pytest.raises(StoreUnavailable):
                await store.deployment_id()
            with pytest.raises(StoreUnavailable):
                await store.hears(within_s=5)
        for call in (migrate, schema_version):
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(call, url)


# ------------------------------------------------------------ S3


@contextmanager
def _s3(folder: Path, made: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Settings]:
    """The real server with TLS, as its own variables say (rclone: `--cert`, `--key`)."""
    port = free_port()
    start = process.spawn

    def with_tls(command: list[object], **options: object) -> process.ProcessId:
        return start([*command, "--cert", made[1], "--key", made[2]], **options)  # type: ignore[arg-type]

    monkeypatch.setattr(s3, "spawn", with_tls)
    server = s3.start(folder / "data", port, ACCESS_KEY, SECRET_KEY, folder / "log")
    monkeypatch.undo()
    try:
        s3.wait_ready(server, port, folder / "log")
        (folder / "data" / "bucket").mkdir()
        yield S3Settings(
            endpoint_url=f"https://127.0.0.1:{port}",
            bucket="bucket",
            access_key=ACCESS_KEY,
            secret_key=SecretStr(SECRET_KEY),
            max_attempts=1,
        )
    finally:
        process.stop(server)


def test_s3_is_verified_by_the_authority_of_the_environment_with_keys_and_without(
    certificates: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _s3(tmp_path, certificates["ours"], monkeypatch) as settings:

        def worker() -> UrlObjects:
            wallet, signed = Wallet(), S3Objects(settings).sign(["key"], ["key"], lifetime_s=60)
            wallet.take(uuid4(), signed.reads, signed.writes)
            return UrlObjects(settings, wallet)

        kinds: list[Callable[[], S3Objects | UrlObjects]] = [lambda: S3Objects(settings), worker]
        for kind in kinds:
            for bundle in ("strangers", None):
                monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
                if bundle is not None:
                    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates[bundle][0]))
                with pytest.raises(ObjectsUnavailable):
                    kind().put("key", b"secret", "text/plain")
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates["ours"][0]))
            kind().put("key", b"secret", "text/plain")
            assert kind().get("key") == b"secret"


# ------------------------------------------------------------ webhooks


@contextmanager
def _receiver(made: tuple[Path, Path, Path]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made[1], made[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("trusted", "delivered"), [("ours", True), ("strangers", False), (None, False)])
async def test_a_webhook_goes_to_a_receiver_that_the_environments_authority_vouches_for(
    certificates: Issued, monkeypatch: pytest.MonkeyPatch, trusted: str | None, delivered: bool
) -> None:
    if trusted is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates[trusted][0]))
    reach = FetchSettings.model_validate({"allow_networks": ["127.0.0.0/8"]}).reach
    sender = HttpSender(timeout_s=5, reach=reach)
    with _receiver(certificates["ours"]) as port:
        answer: Answer = await sender.send(f"https://127.0.0.1:{port}/", {}, b"{}")
    await sender.close()
    assert isinstance(answer, Reply if delivered else Silence)
