"""One local stack: embedded PostgreSQL, S3 and Ray, and the control plane on them, from the first file to the drain."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from orchestrator import config
from orchestrator.config.logins import Login, names
from orchestrator.domain.errors import ConfigError, Unauthenticated
from orchestrator.local import configuration, portbook, postgres, ray, reloading, secrets
from orchestrator.local.layout import DataDir
from orchestrator.local.parts import S3, ControlPlane, Postgres, RayHead, StackPart
from orchestrator.local.portbook import Ports
from orchestrator.local.secrets import Secrets
from orchestrator.local.state import StateFile
from orchestrator.local.supervisor import Supervisor

# How long a stop waits for what is rendering; the rest goes back to the queue and is rendered by the next `up`.
DRAIN_S = 10
TENANT = "local"
_A_USER = "after `useradd --system cogmill` new data directories are that user's, and this one once it has been chowned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a client needs to know of a running stack. `metrics` maps each control-plane process to its page."""

    api: str
    key: str
    database: str
    s3: str
    metrics: dict[str, str]
    ray: str
    config: str
    data_dir: str


class Stack:
    """A stack that serves. Made by `running`."""

    def __init__(
        self, data: DataDir, api_port: int | None, models: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self._data = data
        self._say = say
        self._state = StateFile(data.state)
        self._supervisor = Supervisor(self._state, say)
        self._secrets = secrets.load_or_make(data.secrets)
        self._key_id = _known_key_id(data.api_key)
        self._ports = portbook.choose(self._state.state.ports, api=api_port, free=portbook.bindable)
        self.settings = configuration.establish(data, configuration.document(self._ports, self._secrets, models))
        self._state.keep_ports(asdict(self._ports))
        temp_dir = self._temp_dir()
        gpus = self.settings.gpus[1]
        self._infrastructure = _infrastructure(data, self._ports, self._secrets, temp_dir, gpus)
        self._control_plane = _control_plane(data, self._ports, self._secrets)

    def start(self) -> Ready:
        """Bring everything up, adopting what a killed run left; returns when the API serves. Raises `CogmillError`."""
        self._supervisor.kill_left_over(self._control_plane)
        self._supervisor.adopt(self._infrastructure)
        self._supervisor.refuse_taken_ports([*self._infrastructure, *self._control_plane])
        if (user := postgres.shared_user(self._data.database)) is not None:
            self._say(f"PostgreSQL runs as {user}, as other programs may: {_A_USER}")
        database, objects, cluster = self._infrastructure
        with ThreadPoolExecutor(3) as threads:
            meanwhile = [
                threads.submit(self._make_tiny_models),
                threads.submit(self._supervisor.bring_up, [cluster]),
                threads.submit(self._prepare_bucket, objects),
            ]
            self._supervisor.bring_up([database])
            key = _prepare_database(self.settings, self._secrets, self._key_id)
            secrets.write(self._data.api_key, key)
            for work in meanwhile:
                work.result()
        self._supervisor.bring_up(self._control_plane)
        return self._ready(key)

    def watch(self, *, until: Event, reload: bool = False) -> None:
        """Start again what dies, and say what becomes of the models, until the event is set.

        With `reload` also what has imported a file that is saved. Raises `ConfigError`.
        """
        stale = reloading.Reloading(until) if reload else tuple
        Thread(target=self._tell, args=(until,), name="availability", daemon=True).start()
        self._supervisor.watch([*self._infrastructure, *self._control_plane], until=until, stale=stale)

    def stop(self) -> None:
        """Drain and end everything that this data directory ever started."""
        try:
            self._supervisor.take_down(self._control_plane)
        finally:  # whatever befell the data directory meanwhile, nothing is left running
            self._supervisor.take_down(self._infrastructure)
        temp_dir = self._state.state.ray_temp_dir
        if temp_dir is not None:
            shutil.rmtree(temp_dir, ignore_errors=True)
        try:
            self._state.keep_ray_temp_dir(None)
        except ConfigError as error:  # the next start finds notes of what has ended, and is not misled by them
            self._say(f"everything has stopped, but could not be noted: {error}")

    def _tell(self, until: Event) -> None:
        from orchestrator.local import availability

        availability.tell(self.settings, self._say, until)

    def _temp_dir(self) -> Path:
        known = self._state.state.ray_temp_dir
        if known is not None and known.is_dir():
            return known
        made = ray.make_temp_dir()
        try:
            self._state.keep_ray_temp_dir(made)
        except ConfigError:
            made.rmdir()
            raise
        return made

    def _make_tiny_models(self) -> None:
        directories = [model.directory for model in self.settings.models.values()]
        ours = [path for path in directories if path is not None and path.parent == self._data.models]
        if all(path.is_dir() for path in ours):
            return
        self._say("making the tiny checkpoints (random weights, once)")
        command = [sys.executable, "-m", "orchestrator.cli", "model", "tiny", str(self._data.models)]
        log = self._data.log("models")
        with log.open("ab") as out:
            done = subprocess.run(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise ConfigError(f"the tiny checkpoints could not be made; the log is {log}")

    def _prepare_bucket(self, objects: StackPart) -> None:
        from orchestrator.adapters.s3 import S3Objects

        self._supervisor.bring_up([objects])
        S3Objects(self.settings.s3).ensure_bucket()

    def _ready(self, key: str) -> Ready:
        api, dispatch, maintain = (f"http://127.0.0.1:{part.port}" for part in self._control_plane)
        return Ready(
            api=api,
            key=key,
            database=self.settings.database_url,
            s3=str(self.settings.s3.endpoint_url),
            metrics={"api": f"{api}/metrics", "dispatch": f"{dispatch}/metrics", "maintain": f"{maintain}/metrics"},
            ray=str(self.settings.ray.address),
            config=str(self._data.config.absolute()),
            data_dir=str(self._data.root.absolute()),
        )


@contextmanager
def running(
    data: DataDir, *, api_port: int | None, models: Mapping[str, Any], say: Callable[[str], None]
) -> Iterator[tuple[Stack, Ready]]:
    """A stack in a data directory, served until the block ends; then nothing of it runs.

    `api_port` None keeps the port of earlier runs, 0 takes a free one; `models` are the configuration's models, pools
    and aliases, and tiny checkpoints among them are made when they are missing. Raises `CogmillError`.
    """
    _refuse_early(data, api_port)
    with _usual_umask():
        data.create()
        with data.locked():
            stack = Stack(data, api_port, models, say)
            try:
                yield stack, stack.start()
            finally:
                stack.stop()


@contextmanager
def _usual_umask() -> Iterator[None]:
    """Files that others may read and not write, whatever the caller's mask: PostgreSQL may run as another user.

    What is private has modes of its own, the data directory first.
    """
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _refuse_early(data: DataDir, api_port: int | None) -> None:
    """Raise `ConfigError` for what is in the way, before anything is written.

    Ports of parts that may still run from an earlier start are asked for later, when these have been recognised.
    """
    postgres.refuse_unreachable(data.database)
    known = StateFile(data.state).state
    ports = asdict(portbook.choose(known.ports, api=api_port, free=portbook.bindable))
    ours = known.parts.keys() | known.starting.keys()
    portbook.refuse_taken({name: port for name, port in ports.items() if name not in ours})


def _infrastructure(
    data: DataDir, chosen: Ports, private: Secrets, ray_temp_dir: Path, gpus: int
) -> tuple[StackPart, ...]:
    return (
        Postgres(directory=data.database, port=chosen.database, log=data.log("database"), secrets=private),
        S3(directory=data.objects, port=chosen.s3, log=data.log("s3"), secrets=private),
        RayHead(temp_dir=ray_temp_dir, gpus=gpus, port=chosen.ray, log=data.log("ray")),
    )


def _control_plane(data: DataDir, chosen: Ports, private: Secrets) -> tuple[StackPart, ...]:
    urls = {
        login: postgres.url(chosen.database, password, role=names(postgres.DATABASE)[login])
        for login, password in _passwords(private).items()
    }
    return (
        ControlPlane(name="api", port=chosen.api, log=data.log("api"), database_url=urls[Login.API]),
        ControlPlane(
            name="dispatch",
            port=chosen.dispatch,
            log=data.log("dispatch"),
            database_url=urls[Login.DISPATCH],
            options=("--drain", str(DRAIN_S)),
            needs="ray",
            stop_grace_s=2 * DRAIN_S,
        ),
        ControlPlane(
            name="maintain", port=chosen.maintain, log=data.log("maintain"), database_url=urls[Login.MAINTAIN]
        ),
    )


def _passwords(private: Secrets) -> dict[Login, str]:
    return {
        Login.API: private.api_database_password,
        Login.DISPATCH: private.dispatch_database_password,
        Login.MAINTAIN: private.maintain_database_password,
    }


def _prepare_database(settings: config.Settings, private: Secrets, known_key_id: str | None) -> str:
    """Make roles, migrate to the newest schema, and return the stack's own API key: the known one while it is good."""
    from orchestrator.local import availability
    from orchestrator.store import migrate
    from orchestrator.store.granting import provide
    from orchestrator.tenants import keys

    provide(settings.database, _passwords(private))
    migrate(settings.database)
    asyncio.run(availability.forget(settings))
    return asyncio.run(_valid_key(settings, known_key_id or keys.new_id()))


def _known_key_id(key_file: Path) -> str | None:
    """The id of the key that an earlier start made. Raises `ConfigError` for a damaged file."""
    from orchestrator.tenants import keys

    try:
        return keys.parse(key_file.read_text("utf-8")).id
    except FileNotFoundError:
        return None
    except (Unauthenticated, UnicodeDecodeError):
        raise ConfigError(f"{key_file} holds no API key: delete it, and the next start makes a new one") from None


async def _valid_key(settings: config.Settings, key_id: str) -> str:
    """This key, inserted if the database does not have it; a new one if it was revoked or has expired."""
    from orchestrator.domain.rights import Standing
    from orchestrator.store import Store
    from orchestrator.tenants import keys

    ring = settings.needed_ring
    async with Store.open(settings.database) as store:
        key = await store.find_key(key_id)
        own = None if key is None else ring.key_of(key.master)
        if key is not None and own is not None and key.standing(datetime.now(UTC)) is Standing.GOOD:
            return keys.issue(own, key_id)
        fresh, newest = key_id if key is None else keys.new_id(), ring.newest
        await store.add_key(fresh, TENANT, "made by cogmill up", master=newest.generation)
        return keys.issue(newest.key, fresh)
