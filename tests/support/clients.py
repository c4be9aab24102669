"""The official clients, unmodified: each in an environment of its own that is made once per machine, and run there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.stack import Up
from tests.support.tools import CACHE, need
from tests.support.warm import Warm

SCRIPTS = Path(__file__).parents[1] / "acceptance" / "clients"
BUILD_S = 120
RUN_S = 150

# They cannot share an environment: zhipuai needs pyjwt below 2.9, zai-sdk 2.9 and later. zhipuai does not declare
# sniffio, which it imports.
PYTHON_CLIENTS: Mapping[str, tuple[str, ...]] = {
    "openai-3": ("openai==3.54.0", "standardwebhooks==1.1.0"),
    "openai-2": ("openai==2.54.0", "standardwebhooks==1.1.0"),
    "zai-sdk": ("zai-sdk==0.2.3",),
    "zhipuai": ("zhipuai==2.1.5.20250825", "sniffio==1.3.1"),
}
# What a client's programs import, a second of CPU time each: one that is not here imports it for each of them anew.
_OPENAI = ("openai", "openai.resources", "standardwebhooks")
IMPORTED_ONCE: Mapping[str, tuple[str, ...]] = {
    "openai-3": _OPENAI,
    "openai-2": _OPENAI,
    "zai-sdk": ("zai",),
    "zhipuai": ("zhipuai",),
}
NODE_CLIENTS: Mapping[str, tuple[str, ...]] = {"openai-node": ("openai@7.57.0",)}


@dataclass(frozen=True, slots=True)
class Client:
    """One client's environment. `command` is its interpreter; `modules`, where Node finds what it imports.

    `warm`: that interpreter with the client imported, whose forks run the programs.
    """

    command: Path
    modules: Path | None = None
    warm: Warm | None = None

    def observe(self, script: str, scenario: str, **inputs: Any) -> Any:
        """Run one scenario of a script of tests/acceptance/clients; what it saw, as it printed it in JSON."""
        code = (SCRIPTS / script).read_text()
        with tempfile.TemporaryDirectory(prefix="cogmill-client-") as directory:
            return json.loads(self.run(code, Path(directory), scenario, given=json.dumps(inputs)))

    def run(
        self,
        code: str,
        directory: Path,
        *arguments: str,
        given: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program in a directory, where it may leave files; what it printed."""
        program = directory / ("main.py" if self.modules is None else "main.mjs")
        program.write_text(code)
        if self.modules is not None:
            (directory / "node_modules").symlink_to(self.modules)
        command = [str(program), *arguments]
        whole = {**_own_environment(), "PYTHONPATH": str(SCRIPTS), **(environment or {})}
        if self.warm is not None:
            done = self.warm.run(command, given=given, environment=whole, directory=directory, timeout_s=RUN_S)
        else:
            done = subprocess.run(
                [self.command, *command],
                input=given,
                env=whole,
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=RUN_S,
                check=False,
            )
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stderr}{done.stdout}"
        return done.stdout


def _own_environment() -> dict[str, str]:
    """This process's, without what would lead a client elsewhere: proxies, keys and base URLs."""
    led = ("_PROXY", "_API_KEY", "_BASE_URL")
    return {name: value for name, value in os.environ.items() if not name.upper().endswith(led)}


@pytest.fixture(scope="session")
def official_client() -> Iterator[Callable[[str], Client]]:
    """The client of a name of PYTHON_CLIENTS or NODE_CLIENTS, its environment made at the first call."""
    with ExitStack() as ends:

        def client(name: str) -> Client:
            made = _client(name)
            if made.warm is not None:
                ends.callback(made.warm.end)
            return made

        yield cache(client)


@dataclass(frozen=True, slots=True)
class Caller:
    """One official client, with the base URL of its dialect and the key of a tenant of its own."""

    client: Client
    script: str
    url: str
    key: str

    def __call__(self, scenario: str, **inputs: Any) -> Any:
        return self.client.observe(self.script, scenario, url=self.url, key=self.key, **inputs)


NewCaller = Callable[[str, str, str], Caller]


@pytest.fixture(scope="module")
def caller(stack: Up, official_client: Callable[[str], Client]) -> NewCaller:
    """Makes callers: the client's name, its script and the root of its dialect."""

    def make(name: str, script: str, root: str) -> Caller:
        return Caller(official_client(name), script, f"{stack.ready['api']}{root}", stack.key(uuid4().hex))

    return make


def _client(name: str) -> Client:
    if name in NODE_CLIENTS:
        directory = _made(name, NODE_CLIENTS[name], _install_node)
        return Client(need("node"), directory / "node_modules")
    python = _made(name, PYTHON_CLIENTS[name], _install_python) / "bin" / "python"
    modules = IMPORTED_ONCE.get(name)
    script = SCRIPTS / "imported_once.py"
    return Client(python, warm=Warm.start(python, script, modules, _own_environment()) if modules else None)


def _made(name: str, requirements: tuple[str, ...], install: Callable[[Path, tuple[str, ...]], None]) -> Path:
    """The environment of these requirements, built under another name and renamed: what exists is whole."""
    recipe = json.dumps([requirements, sys.version])
    target = CACHE / "clients" / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if not target.is_dir():
            building = target.with_suffix(".building")
            shutil.rmtree(building, ignore_errors=True)
            install(building, requirements)
            building.rename(target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """For one process at a time: test workers, and runs side by side."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_python(directory: Path, requirements: tuple[str, ...]) -> None:
    _do(sys.executable, "-m", "venv", "--without-pip", str(directory))
    pip = (sys.executable, "-m", "pip", "--python", str(directory / "bin" / "python"), "--quiet", "--retries", "1")
    _do(*pip, "install", "--disable-pip-version-check", *requirements)


def _install_node(directory: Path, requirements: tuple[str, ...]) -> None:
    directory.mkdir()
    _do(str(need("npm")), "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), *requirements)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode != 0:
        pytest.skip(f"no package index: {' '.join(command[-3:])} failed: {done.stderr.strip()[-300:]}")
