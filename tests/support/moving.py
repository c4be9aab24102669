"""What may stand between us and PostgreSQL: a standby, a proxy that moves and freezes, one with TLS, pgbouncer."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.config.logins import names
from orchestrator.local import postgres, process
from tests.support import logins
from tests.support.logins import DEPLOYMENT
from tests.support.postgres import PASSWORD, Server
from tests.support.sockets import free_port
from tests.support.tools import need


@contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """A hot standby that follows `primary`."""
    directory = Path(tempfile.mkdtemp(prefix="cogmill-standby-"))
    directory.chmod(0o711)
    programs = postgres.programs(primary.data_dir)
    subprocess.run(
        [programs / "pg_basebackup", "-D", directory / "data", "-R", "-c", "fast", "-X", "stream", "--no-sync",
         "-d", primary.url("postgres")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    if (user := postgres.server_user()) is not None:
        for path in (directory / "data", *(directory / "data").rglob("*")):
            shutil.chown(path, user)
    (directory / "data").chmod(0o700)
    port = free_port()
    running = postgres.start(directory / "data", port, directory / "log", settings=primary.settings)
    server = Server(directory, port, running, primary.settings)
    postgres.wait_ready(running, directory / "data", directory / "log")
    try:
        yield server
    finally:
        server.remove()


@dataclass
class Road:
    """Leads to a port of this machine, which may change; what is on it when it freezes stays there, without a word."""

    target: int
    port: int = 0
    frozen: bool = False
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _stuck: set[int] = field(default_factory=set)

    def freeze(self) -> None:
        """Every connection of now passes nothing on any more; new ones do."""
        self._stuck |= {id(writer) for writer in self._writers}

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self._writers += [writer, up_writer]
        await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer), return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self.frozen or id(writer) in self._stuck:
                    continue
                writer.write(data)
        finally:
            if id(writer) not in self._stuck:
                writer.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def road_to(database_url: str) -> AsyncIterator[tuple[Road, str]]:
    """A road to the database of this URL, and the URL that leads over it."""
    port = urlsplit(database_url).port
    assert port is not None
    road = Road(port)
    server = await asyncio.start_server(road.accept, "127.0.0.1", 0)
    road.port = server.sockets[0].getsockname()[1]
    try:
        yield road, database_url.replace(f":{port}/", f":{road.port}/")
    finally:
        road.close()
        server.close()


# What a client sends first that wants TLS (PostgreSQL's manual, 54.7 "Message Formats", SSLRequest).
_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


@asynccontextmanager
async def tls_before(database_url: str, certificate: Path, key: Path) -> AsyncIterator[str]:
    """Takes TLS only and hands on what is in it, since the embedded server is built without; yields the URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    port = urlsplit(database_url).port
    assert port is not None
    road = Road(port)

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                await road.accept(reader, writer)
        writer.close()

    server = await asyncio.start_server(front, "127.0.0.1", 0)
    try:
        yield database_url.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/")
    finally:
        road.close()
        server.close()


_CONFIG = """
[databases]
* = host=127.0.0.1 port={target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = 3
{more}
"""


@contextmanager
def pgbouncer(database_url: str, more: str = "") -> Iterator[str]:
    """A pgbouncer in transaction mode before the database of this URL; yields the URL that leads through it."""
    program = need("pgbouncer")
    parts = urlsplit(database_url)
    assert parts.port is not None
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="cogmill-pooler-"))
    directory.chmod(0o755)
    users = {postgres.ROLE: PASSWORD} | dict.fromkeys(names(DEPLOYMENT).values(), logins.PASSWORD)
    (directory / "users").write_text("".join(f'"{user}" "{password}"\n' for user, password in users.items()))
    config = directory / "pgbouncer.ini"
    config.write_text(_CONFIG.format(target=parts.port, port=port, directory=directory, more=more))
    for path in (directory / "users", config):
        path.chmod(0o644)
    pooler = process.spawn([program, config], log=directory / "log", mark="", env=dict(os.environ),
                           user=postgres.server_user(), cwd=directory)  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while "process up" not in (directory / "log").read_text(errors="replace"):
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.02)
        yield database_url.replace(f":{parts.port}/", f":{port}/")
    finally:
        process.stop(pooler, grace_s=5)
        shutil.rmtree(directory, ignore_errors=True)
