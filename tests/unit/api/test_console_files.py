"""The console's files: what is served of them, how it is kept, under which policy, and what they are made of."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from api.app import create_app
from api.console.files import STATIC, files, index, version
from api.services import Services
from orchestrator.config import Settings
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import Artifact
from orchestrator.policy.alerting import Facts, Name, PoolSigns, Spent, alerts
from orchestrator.policy.budget import PERIODS, UNITS
from tests.support.api import api_settings, in_process

_IMPORTED = re.compile(
    r"""(?:(?:^|[;}])\s*(?:import|export)\s*(?:[\w*{][^;"'`=()]*\bfrom\s*)?|\bimport\(\s*)["']([^"']+)["']""",
    re.MULTILINE,
)
VENDOR = STATIC / "vendor"
# The theme, the language, and what is typed into a form and not sent yet.
_KEEPING = {"theme.js", "lib/theme.js", "lib/words.js", "lib/draft.js", "lib/kept.js"}
BUCKET = "https://videos.example:9000"


class _Downloads:
    """Signs for a bucket elsewhere, once it answers."""

    def __init__(self) -> None:
        self.there = True
        self.hangs = False

    async def sign(self, artifact: Artifact, *, lifetime_s: int) -> str:
        if self.hangs:
            await asyncio.Event().wait()
        if not self.there:
            raise Unavailable("no credentials")
        return f"{BUCKET}/bucket/{artifact.key}?X-Amz-Signature=abc"


class _Quiet:
    async def run_once(self) -> None:
        """There are no watchers."""

    async def flush(self) -> None:
        """There is nothing to write."""


@asynccontextmanager
async def client(downloads: _Downloads | None = None, **api: object) -> AsyncIterator[httpx.AsyncClient]:
    @asynccontextmanager
    async def nothing(settings: Settings) -> AsyncIterator[Services]:
        quiet = dict.fromkeys(("feed", "campaign_feed", "uses", "refusals"), _Quiet())
        yield cast(Services, SimpleNamespace(settings=settings, downloads=downloads or _Downloads(), **quiet))

    app = create_app(api_settings("postgresql://nowhere/none", **api), connect=nothing)
    async with app.router.lifespan_context(app), in_process(app) as http:
        yield http


def policy_of(answer: httpx.Response) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))


@pytest.mark.parametrize("base", ["", "/cogmill"])
async def test_every_path_of_the_console_is_its_page_and_all_that_the_page_names_is_there(base: str) -> None:
    async with client(base_path=base) as http:
        pages = [
            await http.get(f"{base}/console{path}") for path in ("", "/jobs", "/jobs/video_1?tab=events", "/no/such")
        ]
        assert {page.text for page in pages} == {pages[0].text}
        for page in pages:
            assert page.headers["content-type"].startswith("text/html")
            assert page.headers["cache-control"] == "no-cache"
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", pages[0].text)
        named = re.findall(r'(?:src|href)="([^"]*)"', pages[0].text)
        assert len(named) > 20
        for link in named:
            assert link.startswith(f"{base}/console/static/{version()}/")
            file = await http.get(link)
            assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert f'"{base}/docs"' in pages[0].text or f" {base}/docs" in pages[0].text


async def test_the_policy_lets_nothing_else_load_and_pictures_come_from_where_signed_urls_lead() -> None:
    downloads = _Downloads()
    downloads.there = False
    async with client(downloads) as http:
        without = policy_of(await http.get("/console"))
        downloads.hangs = True
        assert policy_of(await http.get("/console")) == without
        downloads.there, downloads.hangs = True, False
        policy = policy_of(await http.get("/console"))
    assert without["img-src"] == "'self' data: blob:"
    assert policy["img-src"] == policy["media-src"] == f"'self' data: blob: {BUCKET}"
    assert {name: policy[name] for name in ("default-src", "base-uri", "frame-ancestors")} == dict.fromkeys(
        ("default-src", "base-uri", "frame-ancestors"), "'none'"
    )
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "font-src", "form-action")} == {
        "'self'"
    }
    assert "unsafe" not in " ".join(policy.values())


async def test_files_have_their_types_are_packed_for_who_can_unpack_and_are_not_sent_twice() -> None:
    kinds = {"main.js": "text/javascript", "style/base.css": "text/css", "style/icon.svg": "image/svg+xml"}
    async with client() as http:
        for path, kind in kinds.items():
            url = f"/console/static/{version()}/{path}"
            plain = await http.get(url, headers={"accept-encoding": "identity"})
            packed = await http.get(url, headers={"accept-encoding": "gzip"})
            again = await http.get(url, headers={"if-none-match": plain.headers["etag"]})
            assert plain.headers["content-type"].split(";")[0] == kind
            assert plain.headers["x-content-type-options"] == "nosniff"
            assert plain.content == packed.content == (STATIC / path).read_bytes()
            assert {each.headers["vary"] for each in (plain, packed, again)} == {"accept-encoding"}
            assert (again.status_code, again.content) == (304, b"")
        assert "content-encoding" not in plain.headers
        older = await http.get("/console/static/another/main.js")
    assert (older.status_code, older.headers["cache-control"]) == (200, "no-cache")
    base = files()["style/base.css"]
    assert base.packed is not None
    assert gzip.decompress(base.packed) == base.data


@pytest.mark.parametrize(
    "path", ["vendor/LICENSE-preact", "vendor/preact.d.ts", "index.html", "..%2F..%2Fapp.py", "%00", ""]
)
async def test_no_other_file_is_served(path: str) -> None:
    async with client() as http:
        assert (await http.get(f"/console/static/{version()}/{path}")).status_code == 404


def test_the_page_asks_for_all_modules_at_once_but_for_words_of_other_languages() -> None:
    named = set(re.findall(r'modulepreload" href="/console/static/\w+/([^"]*)"', index("").data.decode()))
    assert {"main.js", "vendor/preact.js", "lib/api.js", "shell/Shell.js"} <= named
    assert not any(path.startswith("words/") for path in named)


# ------------------------------------------------------------ what it is made of


def test_what_is_vendored_is_as_it_was_written_down_with_its_licences() -> None:
    sums = dict(reversed(line.split("  ")) for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    lying = {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS", "VERSIONS.json"}
    assert set(sums) == lying
    for name, expected in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == expected, name
    versions = json.loads((VENDOR / "VERSIONS.json").read_text())
    notice = (STATIC.parents[2] / "NOTICE").read_text()
    for package, number in versions.items():
        assert f"{package} {number}" in notice
        assert (VENDOR / f"LICENSE-{package.replace('@', '').replace('/', '-')}").stat().st_size > 500


def test_modules_ask_nobody_else_and_find_each_other_by_relative_paths() -> None:
    for path in STATIC.rglob("*.js"):
        text = path.read_text()
        for asked in _IMPORTED.findall(text):
            assert asked.startswith("."), f"{path.name} imports {asked}"
        if path.parent != VENDOR:
            assert "innerHTML" not in text, f"{path.name} makes markup of text"
            keeping = path.relative_to(STATIC).as_posix() in _KEEPING
            assert keeping or not re.search("localStorage|/kept.js", text), f"{path.name} keeps what nobody knows of"
    for path in STATIC.rglob("*.css"):
        assert "@import" not in path.read_text()
        assert "url(" not in path.read_text()


def _words(language: str) -> dict[str, str]:
    text = (STATIC / f"words/{language}.js").read_text()
    found = re.findall(r'^  (?:"([^"]+)"|(\w+)):\s*"((?:[^"\\]|\\.)*)",$', text, re.MULTILINE)
    words = {quoted or bare: value for quoted, bare, value in found}
    assert len(words) == len(found), "a key stands twice"
    assert len(found) == len(re.findall(r'^  (?:"[^"]+"|\w+):', text, re.MULTILINE)), "a text is not one plain string"
    return words


def test_both_languages_have_every_text_with_the_same_names_in_it() -> None:
    english, chinese = _words("en"), _words("zh")
    # A language without a singular needs none.
    assert {key for key in english if not key.endswith(".one")} == {key for key in chinese if not key.endswith(".one")}
    for key, text in english.items():
        if key in chinese:
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key
    same = {key for key, text in english.items() if chinese.get(key) == text and re.search(r"[a-z]{3}", text)}
    assert same <= {"nav.webhooks"}, "not translated"


def test_every_text_that_a_page_asks_for_is_there() -> None:
    english = _words("en")
    for path in STATIC.rglob("*.js"):
        if path.parent == VENDOR:
            continue
        code = re.sub(r"^\s*(//|/?\*).*$", "", path.read_text(), flags=re.MULTILINE)
        for key in re.findall(r"""\bt\(\s*["']([\w.]+)["']""", code):
            assert key in english, f"{path.name} asks for {key}"


def test_every_alert_has_a_title_and_words_in_both_languages_made_of_what_the_api_tells_of_it() -> None:
    trouble = PoolSigns(
        waiting=9, oldest_wait_s=3600, ready=0, wanted=2, broken=1, reason="no memory", quarantined=2, ended=9,
        failed=9, least_waiting=3, busy_share=0.2,
    )  # fmt: skip
    paused = PoolSigns(paused="pool b is paused: it moves", pause_reason="it moves")
    found = alerts(
        Facts(
            pools={"a": trouble, "b": paused, "c": replace(paused, all_paused=True)}, at_risk={"campaign_1": "wait"},
            exhausted=[Spent(tenant="t", period=p, unit=u, amount=1) for p in PERIODS for u in UNITS],
            forecasts_s=9e3, given_up=1, outbox_s=9e3, unsealed_s=9e3, dead_letters=1, parked=1,
        )
    )  # fmt: skip
    assert {alert.name for alert in found} == set(Name)
    for words in (_words("en"), _words("zh")):
        for alert in found:
            assert f"overview.alert.{alert.name}" in words
            wanted = set(re.findall(r"\{(\w+)\}", words[f"overview.alert.{alert.name}.what"]))
            assert wanted == set(alert.values) - {"detail"}, alert.name
            for name, value in alert.values.items():
                if isinstance(value, str) and name != "detail":
                    assert f"overview.value.{name}.{value}" in words
