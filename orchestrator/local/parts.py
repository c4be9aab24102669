"""The parts of a local stack behind one small interface: start, wait, look after, stop."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Protocol

from orchestrator.domain.errors import ConfigError
from orchestrator.local import postgres, process, ray, s3
from orchestrator.local.process import ProcessId
from orchestrator.local.secrets import Secrets


class StackPart(Protocol):
    """One process (with whatever it forks) that listens on one port."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def log(self) -> Path: ...

    @property
    def needs(self) -> str | None:
        """The part whose death this one does not survive."""
        ...

    def start(self, mark: str) -> ProcessId:
        """Start it, marked for `process.marked`, and return at once. Raises `CogmillError`."""
        ...

    def wait_ready(self, identity: ProcessId) -> None:
        """Wait until it serves. Raises `CogmillError` when it ends first or takes too long."""
        ...

    def healthy(self, identity: ProcessId) -> bool:
        """True when this very process lives and serves."""
        ...

    def stop(self, identity: ProcessId) -> None:
        """End it and all that it forked. Gone already is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    directory: Path
    port: int
    log: Path
    secrets: Secrets
    name: str = "database"
    needs: None = None

    def start(self, mark: str) -> ProcessId:
        postgres.initialise(self.directory, self.secrets.database_password)
        return postgres.start(self.directory, self.port, self.log, mark=mark)

    def wait_ready(self, identity: ProcessId) -> None:
        postgres.wait_ready(identity, self.directory, self.log)

    def healthy(self, identity: ProcessId) -> bool:
        return identity.process() is not None and postgres.accepting(identity, self.directory)

    def stop(self, identity: ProcessId) -> None:
        postgres.stop(identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    directory: Path
    port: int
    log: Path
    secrets: Secrets
    name: str = "s3"
    needs: None = None

    def start(self, mark: str) -> ProcessId:
        keys = (self.secrets.s3_access_key, self.secrets.s3_secret_key)
        return s3.start(self.directory, self.port, *keys, self.log, mark=mark)

    def wait_ready(self, identity: ProcessId) -> None:
        s3.wait_ready(identity, self.port, self.log)

    def healthy(self, identity: ProcessId) -> bool:
        return identity.process() is not None and process.port_taken(self.port)

    def stop(self, identity: ProcessId) -> None:
        process.stop(identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayHead:
    temp_dir: Path
    gpus: int
    port: int
    log: Path
    name: str = "ray"
    needs: None = None

    def start(self, mark: str) -> ProcessId:
        return ray.start(self.port, self.temp_dir, self.log, gpus=self.gpus, mark=mark)

    def wait_ready(self, identity: ProcessId) -> None:
        ray.wait_ready(identity, self.port, self.temp_dir, log=self.log)

    def healthy(self, identity: ProcessId) -> bool:
        return ray.healthy(identity, self.port, self.temp_dir) and ray.offers(identity, self.gpus)

    def stop(self, identity: ProcessId) -> None:
        ray.stop(identity, self.temp_dir)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """`cogmill api`, `cogmill dispatch` or `cogmill maintain`, each with `/healthz` on its port."""

    name: str
    port: int
    log: Path
    # Of a role that may do what this process needs. All else it finds in the stack's file.
    database_url: str
    options: tuple[str, ...] = ()
    needs: str | None = None
    start_timeout_s: float = 60.0
    stop_grace_s: float = 10.0

    def start(self, mark: str) -> ProcessId:
        command = [sys.executable, "-m", "orchestrator.cli", self.name, *self.options]
        return process.spawn(
            command, log=self.log, mark=mark, env={**os.environ, "COGMILL_DATABASE_URL": self.database_url}
        )

    def wait_ready(self, identity: ProcessId) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.healthy(identity):
            if identity.process() is None or time.monotonic() > deadline:
                raise ConfigError(
                    f"{self.name} did not start on port {self.port}: {_last_line(self.log)} (log: {self.log})"
                )
            time.sleep(0.05)

    def healthy(self, identity: ProcessId) -> bool:
        return identity.process() is not None and _answers(self.port)

    def stop(self, identity: ProcessId) -> None:
        process.stop(identity, grace_s=self.stop_grace_s)


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
