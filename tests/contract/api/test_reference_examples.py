"""Every example of the API reference runs as it is printed: in a shell, and in the client that it imports."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from fastapi import FastAPI

from api.chapters import ORDER, chapters
from orchestrator.config import Settings
from orchestrator.domain.rights import Scope
from tests.support.api import CLUSTER, POOL, WORKER, Api, in_process, listening
from tests.support.clients import Client
from tests.support.desks import Desks

pytestmark = pytest.mark.asyncio(loop_scope="module")

_SNIPPET = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SEEN_EVERY_S = 0.05
# What a Python example imports, by the environment that it runs in; our own client runs in this one.
PACKAGES = {"openai": "openai-3", "zai": "zai-sdk", "cogmill_client": None}


def snippets() -> Iterator[tuple[str, str, str]]:
    """The group, the language, and the code of each example."""
    for tag, chapter in chapters().items():
        for example in chapter.examples.values():
            for language, code in _SNIPPET.findall(example):
                yield tag, language, code


def package(code: str) -> str:
    """Which of the packages a Python example is for."""
    (found,) = (name for name in PACKAGES if re.search(rf"^from {name} import", code, re.MULTILINE))
    return found


@dataclass
class Site:
    """A served API; `variables` are what the examples leave open."""

    variables: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(api_app: tuple[FastAPI, Settings]) -> AsyncIterator[Site]:
    """One tenant with a video and two campaigns that are done, and a worker that succeeds at all that it can have."""
    app, settings = api_app
    api = Api(app, settings, tenant=uuid4().hex[:12], http=in_process(app))
    key = await api.key(scopes=frozenset({Scope.READ, Scope.SUBMIT, Scope.CAMPAIGNS, Scope.WEBHOOKS}))
    api.http.headers["authorization"] = f"Bearer {key}"
    async with api.http, listening(app) as port:
        desks = Desks.of(api)
        shell, python = await desks.done(1), await desks.done(2)
        video = (await api.http.post("/v1/videos", json={"prompt": "a watermill"})).raise_for_status().json()["id"]
        await api.publish(await api.claim(video), stills=True)
        sheet = (await api.http.get(f"/v1/campaigns/{shell}/reviews")).raise_for_status().json()
        working = asyncio.create_task(_work(api))
        yield Site(
            {
                "API": f"http://127.0.0.1:{port}", "KEY": key, "POOL": POOL, "VIDEO_ID": video,
                "CAMPAIGN_ID": shell, "REVIEWED_ID": sheet["data"][0]["id"], "OTHER_CAMPAIGN": python,
                "RECEIVER": "https://receiver.example/cogmill",
                "KEYS_KEY": await api.key(scopes=frozenset({Scope.READ, Scope.KEYS})),
                "OPERATOR_KEY": await api.key(scopes=frozenset({Scope.OPERATE})),
                "ADMIN_KEY": await api.key(scopes=frozenset({Scope.ADMIN, Scope.VIEW})),
            }
        )  # fmt: skip
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _work(api: Api) -> None:
    while True:
        await api.dispatching.beat(CLUSTER, {WORKER: POOL})
        for claim in await api.dispatching.claim(POOL, CLUSTER, [WORKER]):
            await api.publish(claim)
        await asyncio.sleep(_SEEN_EVERY_S)


async def test_every_group_has_examples_for_a_shell_and_every_dialect_for_its_client() -> None:
    assert {tag for tag, language, _ in snippets() if language == "sh"} == set(ORDER)
    dialects = {"openai": "openai", "bigmodel": "zai", "native": "cogmill_client"}
    assert dialects.items() <= {(tag, package(code)) for tag, language, code in snippets() if language == "python"}
    assert {language for _, language, _ in snippets()} == {"sh", "python"}


async def test_the_examples_for_a_shell_run_as_they_stand(site: Site, tmp_path: Path) -> None:
    lines = "\n".join(code for _, language, code in snippets() if language == "sh")
    done = await asyncio.to_thread(_shell, lines, site.variables, tmp_path)
    assert done.returncode == 0, done.stderr
    left = _left(tmp_path)
    assert _named(lines) <= left.keys()
    assert left["usage.csv"].startswith(b"campaign,")
    assert left["watermill.webp"].startswith(b"RIFF")


@pytest.mark.parametrize("name", PACKAGES)
async def test_the_examples_for_a_client_run_as_they_stand(
    site: Site, name: str, official_client: Callable[[str], Client], tmp_path: Path
) -> None:
    examples = [code for _, language, code in snippets() if language == "python" and package(code) == name]
    known = {**site.variables, "CAMPAIGN_ID": site.variables["OTHER_CAMPAIGN"]}
    program = "\n".join([*(f"{variable} = {value!r}" for variable, value in known.items()), *examples])
    environment = PACKAGES[name]
    client = Client(Path(sys.executable)) if environment is None else official_client(environment)
    await asyncio.to_thread(client.run, program, tmp_path)
    assert _named(program) <= _left(tmp_path).keys()


def _named(program: str) -> set[str]:
    """The files that a program says it leaves."""
    return set(re.findall(r"\b\w+\.(?:mp4|webp|csv)\b", program))


def _left(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def _shell(lines: str, variables: Mapping[str, str], directory: Path) -> Any:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-xc", lines],
        env={**variables, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        cwd=directory, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
