"""What the API shows of itself, under which prefix, and to whose scripts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError

from api.app import create_app
from api.services import Services
from orchestrator.config import ApiSettings, Settings
from orchestrator.config.sections import _OWN_PATHS
from orchestrator.domain.errors import Unauthenticated, Unavailable
from orchestrator.ports import ApiKey
from tests.support.api import api_settings, in_process

FILES = ["docs.js", "docs.css", "home.css", "swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"]
PAGES = {"/": "/docs/home.css", "/docs": "docs/docs.js"}
APP = "https://app.example"


class _NoKeys:
    async def key(self, authorization: str | None, address: object) -> ApiKey:
        raise Unauthenticated("no API key", reason="missing")


class _NoWatchers:
    async def run_once(self) -> None:
        """There are none."""


class _NoStorage:
    async def sign(self, *signed: object, **how: object) -> str:
        raise Unavailable


class _NoUses:
    async def flush(self) -> None:
        """There are none."""


class _NoRefusals(_NoUses):
    def unauthenticated(self, *refused: object) -> None:
        """Counted nowhere."""


@asynccontextmanager
async def nothing(settings: Settings) -> AsyncIterator[Services]:
    """Services without a database: enough to refuse everybody."""
    parts = {"feed": _NoWatchers(), "campaign_feed": _NoWatchers(), "keyring": _NoKeys()}
    parts |= {"uses": _NoUses(), "refusals": _NoRefusals(), "downloads": _NoStorage()}
    yield cast(Services, SimpleNamespace(settings=settings, **parts))


@asynccontextmanager
async def client(**api: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(api_settings("postgresql://nowhere/none", **api), connect=nothing)
    async with app.router.lifespan_context(app), in_process(app) as opened:
        yield opened


def paths(app: FastAPI) -> Iterator[str]:
    for context in iter_route_contexts(app.routes):
        yield context.original_route.path


@pytest.mark.parametrize("base", ["", "/cogmill"])
@pytest.mark.parametrize("page", PAGES)
async def test_a_page_needs_nothing_but_its_own_origin_and_runs_no_script_of_its_own_text(page: str, base: str) -> None:
    async with client(base_path=base) as http:
        shown = await http.get(f"{base}{page}", headers={"accept": "text/html,*/*;q=0.8"})
        assert shown.headers["content-type"].startswith("text/html")
        policy = dict(part.split(" ", 1) for part in shown.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        allowed = {source for sources in policy.values() for source in sources.split()}
        assert allowed <= {"'none'", "'self'", "data:"}
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", shown.text)
        named = re.findall(r'(?:src|href)="([^"]*)"', shown.text)
        assert any(link.endswith(PAGES[page]) for link in named)
        for link in named:
            assert "//" not in link
            if "readyz" not in link:  # it has no database here
                assert (await http.get(str(httpx.URL(f"http://api{base}{page}").join(link)))).status_code == 200


@pytest.mark.parametrize("name", FILES)
async def test_a_file_of_a_page_has_its_type_and_is_not_sent_twice(name: str) -> None:
    async with client() as http:
        first = await http.get(f"/docs/{name}")
        again = await http.get(f"/docs/{name}", headers={"if-none-match": first.headers["etag"]})
        headed = await http.head(f"/docs/{name}")
    kinds = {"js": "text/javascript", "css": "text/css", "png": "image/png"}
    assert first.headers["content-type"].split(";")[0] == kinds[name.rpartition(".")[2]]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["cache-control"] == "no-cache"
    assert len(first.content) > 50
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert headed.headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize("name", ["LICENSE", "docs.html", "..%2Fapp.py", "%2e%2e", "swagger-ui.css.map", "%00"])
async def test_no_other_file_is_served(name: str) -> None:
    async with client() as http:
        assert (await http.get(f"/docs/{name}")).status_code == 404


async def test_the_reference_asks_nobody_else_for_anything() -> None:
    async with client() as http:
        script = (await http.get("/docs/docs.js")).text
        style = (await http.get("/docs/swagger-ui.css")).text
    assert "validatorUrl: null" in script
    assert "//" not in re.sub(r"^//.*$", "", script, flags=re.MULTILINE)
    assert all(target.startswith(("data:", '"data:')) for target in re.findall(r"url\((.{6})", style))
    assert "@import" not in style


async def test_the_root_answers_a_person_with_a_page_and_a_program_with_json() -> None:
    async with client() as http:
        person = await http.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        programs = [await http.get("/", headers={"accept": kind}) for kind in ("*/*", "application/json")]
    assert person.text.startswith("<!doctype html>")
    for program in programs:
        assert program.json()["base_urls"] == {"openai": "/v1", "bigmodel": "/api/paas/v4"}
        places = {name: program.json()[name] for name in ("console", "docs", "openapi", "llms")}
        assert places == {"console": "/console", "docs": "/docs", "openapi": "/openapi.json", "llms": "/llms.txt"}
    assert {each.headers["vary"] for each in (person, *programs)} == {"accept"}


async def test_llms_txt_is_of_its_format_and_leads_to_every_route() -> None:
    base = "/cogmill"
    async with client(base_path=base) as http:
        index = (await http.get(f"{base}/llms.txt")).text
        # llmstxt.org: a title, a summary, whatever is no heading, and sections of links.
        title, summary, *_ = index.split("\n\n")
        assert title == "# Cogmill"
        assert re.fullmatch(r"> [^\n]+", summary)
        first, *sections = re.split(r"^## ", index, flags=re.MULTILINE)
        assert "](" not in first
        assert [section.partition("\n")[0] for section in sections] == ["Reference", "Optional"]
        links = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): .+$", "".join(sections), re.MULTILINE)
        assert len(links) == sum(line.startswith("- ") for section in sections for line in section.splitlines())
        texts = [
            (await http.get(link)).raise_for_status().text for link in links if link.endswith((".md", "llms-full.txt"))
        ]
        assert all(link.startswith(f"{base}/") for link in links)
        document = (await http.get(f"{base}/openapi.json")).json()
        routes = {(m.upper(), path) for path, item in document["paths"].items() for m in item}
        assert {
            tuple(found) for text in texts[:-1] for found in re.findall(r"^## ([A-Z]+) (/.*)$", text, re.M)
        } == routes
        assert {tuple(found) for found in re.findall(r"^## ([A-Z]+) (/.*)$", texts[-1], re.M)} == routes
        assert "client.batches.create(" in texts[-1]
        kinds = [
            (await http.head(f"{base}/docs/{name}")).headers["content-type"] for name in ("jobs.md", "llms-full.txt")
        ]
        assert kinds == ["text/markdown; charset=utf-8", "text/plain; charset=utf-8"]
        for other in ("nothing.md", "beginning.md", "llms.txt"):
            assert (await http.get(f"{base}/docs/{other}")).status_code == 404


# ------------------------------------------------------------ a base path


async def test_a_base_path_may_be_there_or_have_been_taken_away() -> None:
    async with client(base_path="/cogmill/") as http:
        for before in ("", "/cogmill"):
            assert (await http.get(f"{before}/healthz")).json() == {"status": "ok"}
            assert (await http.get(f"{before}/v1/videos")).status_code == 401
            assert (await http.get(f"{before}/")).json()["docs"] == "/cogmill/docs"
            refused = await http.get(f"{before}/api/paas/v4/files")
            assert refused.json()["error"]["code"] == "1001", "an error in another dialect than its path's"
            document = (await http.get(f"{before}/openapi.json")).json()
            assert document["servers"] == [{"url": "/cogmill"}]
            assert "/v1/videos" in document["paths"]
        assert (await http.get("/cogmill")).json()["name"] == "cogmill"
        for other in ("/cogmills/healthz", "/cogmill/cogmill/healthz", "/other/healthz"):
            assert (await http.get(other)).status_code == 404


def test_no_base_path_can_be_taken_for_a_path_of_the_api() -> None:
    app = create_app(api_settings("postgresql://nowhere/none"), connect=nothing)
    assert {path.split("/")[1] for path in paths(app)} - {""} == set(_OWN_PATHS)
    for wrong in ("/v1", "/api", "/api/x", "cogmill", "//x", "/a b", "/a?b", "/{a}", "http://x"):
        with pytest.raises(ValidationError, match="base_path"):
            ApiSettings(base_path=wrong)
    assert ApiSettings(base_path="/v1x/y/").base_path == "/v1x/y"
    assert ApiSettings(base_path="/").base_path == ""


# ------------------------------------------------------------ scripts of other origins


async def test_scripts_of_a_named_origin_may_ask_without_a_key_first_and_read_every_answer() -> None:
    asking = {
        "origin": APP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key,last-event-id,x-stainless-os",
    }
    async with client(cors_origins=[APP, "http://localhost:5173"], base_path="/cogmill") as http:
        for path in ("/v1/videos", "/cogmill/v1/videos/video_1/events", "/api/paas/v4/files"):
            before = await http.options(path, headers=asking)
            assert before.status_code == 200
            assert before.headers["access-control-allow-origin"] == APP
            granted = before.headers["access-control-allow-headers"].lower()
            assert set(asking["access-control-request-headers"].split(",")) <= set(re.split(r",\s*", granted))
            assert {"GET", "POST", "DELETE"} <= set(before.headers["access-control-allow-methods"].split(", "))
        for path, status in (("/v1/videos", 401), ("/healthz", 200), ("/nowhere", 404)):
            answer = await http.get(path, headers={"origin": APP})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == APP
            assert "access-control-allow-credentials" not in answer.headers
            shown = set(answer.headers["access-control-expose-headers"].split(", "))
            assert {"x-request-id", "retry-after", "openai-poll-after-ms", "x-should-retry"} <= shown
        large = await http.post("/v1/videos", headers={"origin": APP, "content-length": str(10**9)})
        assert (large.status_code, large.headers["access-control-allow-origin"]) == (413, APP)


async def test_scripts_of_other_origins_may_read_nothing() -> None:
    for origins in ([], [APP]):
        async with client(cors_origins=origins) as http:
            asking = {"origin": "https://evil.example", "access-control-request-method": "GET"}
            assert "access-control-allow-origin" not in (await http.options("/v1/videos", headers=asking)).headers
            assert "access-control-allow-origin" not in (await http.get("/healthz", headers=asking)).headers
    for wrong in (["*", APP], ["app.example"], ["https://app.example/"], ["https://App.example"], ["null"], [""]):
        with pytest.raises(ValidationError, match="cors_origins"):
            ApiSettings.model_validate({"cors_origins": wrong})
