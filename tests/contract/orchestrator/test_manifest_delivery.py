"""Manifests in S3 and on the command line, whatever their size; and videos that are delivered under other names."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from typer.testing import CliRunner

from api.app import create_app
from api.services import Services
from orchestrator import cli
from orchestrator.adapters.s3 import S3Objects
from orchestrator.campaigns import checking
from orchestrator.campaigns.delivery import deliver
from orchestrator.campaigns.manifest import ManifestWriter, WrittenManifest, lines_of
from orchestrator.campaigns.signing import Keys, Signer
from orchestrator.commands import manifest as commands
from orchestrator.config import S3Settings, Settings
from orchestrator.domain.errors import IntegrityError, NotFound, ObjectsUnavailable, ScratchUnavailable
from orchestrator.domain.manifest import InputOf, ManifestHead, ManifestRow, TemplateVersion
from orchestrator.domain.objects import manifest_prefix
from tests.support.api import MASTER_KEY, api_settings, in_process
from tests.support.disks import largest_file
from tests.support.s3 import S3Server
from tests.support.web import Web

CAMPAIGN = "campaign_" + "0" * 32
HEAD = ManifestHead(
    campaign=CAMPAIGN,
    name="Mugs",
    revision=1,
    final=False,
    template_versions=[TemplateVersion(version=1, prompt="A {thing} at dawn")],
    input=InputOf(source="file-1", sha256="e" * 64, records=3),
)
SIGNER = Signer(MASTER_KEY)


def rows(count: int, **made: Any) -> list[ManifestRow]:
    return [
        ManifestRow(row=place, line=place + 1, custom_id=f"mug-{place}", state="succeeded", prompt="A mug", **made)
        for place in range(count)
    ]


async def paged(rows: Sequence[ManifestRow], size: int = 2) -> AsyncIterator[Sequence[ManifestRow]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


async def write(
    objects: S3Objects, rows: Sequence[ManifestRow], head: ManifestHead = HEAD, size: int = 2
) -> WrittenManifest:
    return await ManifestWriter(objects, SIGNER).write("acme", head, paged(rows, size))


# ------------------------------------------------------------ writing


async def test_a_manifest_lies_in_s3_with_its_signature_beside_it(objects: S3Objects) -> None:
    failed = replace(rows(2)[1], state="failed", error={"code": "nan_frames", "message": "no"})
    written = await write(objects, [*rows(1, incidents=["frozen"]), failed])
    data = objects.get(written.manifest.key)
    assert written.manifest.sha256 == written.signature.sha256 == hashlib.sha256(data).hexdigest()
    assert json.loads(objects.get(written.signature_file.key)) == written.signature.to_dict()
    assert set(objects.list_keys(manifest_prefix("acme", CAMPAIGN))) == {
        written.manifest.key,
        written.signature_file.key,
    }
    assert written.manifest.key.startswith(f"{manifest_prefix('acme', CAMPAIGN)}1-")
    assert written.counts == {"rows": 2, "bad": 0, "flagged": 1, "delivered": 0, "succeeded": 1, "failed": 1}
    header, *lines = map(json.loads, lines_of(objects, written.manifest))
    assert (header["rows"], header["counts"]) == (2, written.counts)
    assert [(line["row"], line["flags"]) for line in lines] == [(0, ["frozen"]), (1, [])]
    Keys.of(SIGNER.jwks).verify(written.signature)


async def test_equal_content_is_equal_bytes_and_other_content_overwrites_nothing(objects: S3Objects) -> None:
    one, same = await write(objects, rows(5)), await write(objects, rows(5), size=3)
    assert one == same
    other = await write(objects, rows(4))
    later = await write(objects, rows(5), replace(HEAD, revision=2, final=True))
    assert len({one.manifest.key, other.manifest.key, later.manifest.key}) == 3
    objects.verify(one.manifest)


async def test_a_manifest_without_rows_is_one(objects: S3Objects) -> None:
    written = await write(objects, [])
    assert written.counts == {"rows": 0, "bad": 0, "flagged": 0, "delivered": 0}
    assert len(list(lines_of(objects, written.manifest))) == 1


async def test_rows_that_are_out_of_order_are_a_bug_that_is_seen(objects: S3Objects) -> None:
    for wrong in (rows(2)[::-1], [*rows(2), *rows(1)]):
        with pytest.raises(IntegrityError, match="comes after row"):
            await write(objects, wrong)
    assert list(objects.list_keys("")) == []


async def test_a_full_disk_and_an_s3_that_is_away_are_said_as_such(own_s3_server: S3Server) -> None:
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1))
    with largest_file(64 * 1024), pytest.raises(ScratchUnavailable):
        await write(objects, rows(1000))
    own_s3_server.kill()
    with pytest.raises(ObjectsUnavailable):
        await write(objects, rows(1))


async def test_memory_does_not_grow_with_the_rows(objects: S3Objects, tmp_path: Path) -> None:
    page = rows(500)

    async def many(pages: int) -> AsyncIterator[Sequence[ManifestRow]]:
        for number in range(pages):
            yield [replace(row, row=row.row + 500 * number) for row in page]

    async def peak(pages: int) -> int:
        tracemalloc.start()
        try:
            written = await ManifestWriter(objects, SIGNER).write("acme", HEAD, many(pages))
            copy = tmp_path / "copy.jsonl"
            with copy.open("wb") as file:
                file.writelines(objects.stream(written.manifest.key))
            assert checking.read_manifest(copy).rows == 500 * pages
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few = await peak(4)
    assert await peak(20) < few + 4 * 2**20, "8 MB more go through"


# ------------------------------------------------------------ the command


@dataclass
class Here:
    """A manifest as its owner has it: the file, its signature, the key set, and its videos in a directory."""

    file: Path
    signature: Path
    jwks: Path
    videos: Path

    def verify(self, *options: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.app, ["manifest", "verify", str(self.file), *options])
        return done.exit_code, done.output

    def with_keys(self, *options: str) -> tuple[int, str]:
        return self.verify("--jwks", str(self.jwks), *options)


@pytest.fixture
async def here(objects: S3Objects, tmp_path: Path) -> Here:
    videos = tmp_path / "videos"
    videos.mkdir()
    made = []
    for row in rows(20):
        data = f"a video of {row.custom_id}".encode()
        artifact = objects.put(f"videos/{row.row}/1/video.mp4", data, "video/mp4")
        (videos / f"{row.custom_id}.mp4").write_bytes(data)
        made.append(replace(row, key=artifact.key, sha256=artifact.sha256, size=artifact.size))
    written = await write(objects, [*made, ManifestRow(row=20, custom_id="bad", state="failed")])
    file = tmp_path / "mugs.jsonl"
    file.write_bytes(objects.get(written.manifest.key))
    (tmp_path / "mugs.sig.json").write_bytes(objects.get(written.signature_file.key))
    (tmp_path / "jwks.json").write_text(json.dumps(SIGNER.jwks))
    return Here(file, tmp_path / "mugs.sig.json", tmp_path / "jwks.json", videos)


def test_a_genuine_manifest_is_said_to_be_one(here: Here) -> None:
    code, said = here.with_keys()
    assert (code, said) == (0, f"{here.file} is genuine: {CAMPAIGN}, revision 1, not final, 21 rows\n")
    code, said = here.with_keys("--objects", str(here.videos))
    assert (code, said.endswith("20 videos as they were made\n")) == (0, True)
    elsewhere = here.signature.rename(here.signature.with_name("other.json"))
    assert here.with_keys("--signature", str(elsewhere))[0] == 0


def test_the_deployments_own_key_and_bucket_are_asked_where_its_settings_are(
    here: Here, s3_settings: S3Settings, objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = api_settings("postgresql://nowhere/none", s3_settings)
    monkeypatch.setattr("orchestrator.commands.manifest.settings_of", lambda _: settings)
    assert here.verify("--objects", "s3")[0] == 0
    objects.put("videos/7/1/video.mp4", b"A video of mug-7", "video/mp4")
    code, said = here.verify("--objects", "s3")
    assert code == 1
    assert "line 9: videos/7/1/video.mp4 has the SHA-256" in said
    objects.delete(["videos/3/1/video.mp4"])
    assert "line 5: videos/3/1/video.mp4 is gone" in here.verify("--objects", "s3")[1]


# Parts that an API process turns round.
IDLE = ("feed", "campaign_feed", "uses", "refusals")


@asynccontextmanager
async def no_database(settings: Settings) -> AsyncIterator[Services]:
    nothing = partial(asyncio.sleep, 0)
    idle = SimpleNamespace(run_once=nothing, flush=nothing, end_all=lambda: None)
    ring = settings.needed_ring
    yield cast(Services, SimpleNamespace(settings=settings, masters=ring, **dict.fromkeys(IDLE, idle)))


async def test_the_key_set_is_had_from_the_api_by_anybody(here: Here, web: Web) -> None:
    app = create_app(api_settings("postgresql://nowhere/none"), connect=no_database)
    async with app.router.lifespan_context(app), in_process(app) as http:
        answer = await http.get("/.well-known/jwks.json")
    assert answer.json() == SIGNER.jwks
    assert answer.headers["cache-control"] == "public, max-age=300"
    web.pages["/jwks.json"] = answer.content
    verify = partial(asyncio.to_thread, here.verify)
    assert (await verify("--jwks", f"{web.url}/jwks.json"))[0] == 0
    web.pages["/large.json"] = b" " * 2**21
    for wrong in ("/nothing.json", "/large.json"):
        assert (await verify("--jwks", f"{web.url}{wrong}"))[0] == 1


def changed(change: Callable[[list[str]], list[str] | None]) -> Callable[[Here], None]:
    """Another text of the file: of its lines, each with its end."""

    def act(here: Here) -> None:
        lines = here.file.read_text().splitlines(keepends=True)
        here.file.write_text("".join(change(lines) or lines))

    return act


def signature(**changes: object) -> Callable[[Here], None]:
    def act(here: Here) -> None:
        here.signature.write_text(json.dumps(json.loads(here.signature.read_text()) | changes))

    return act


def swap(here: Here) -> None:
    """Signed again by somebody else, who says that the key is ours."""
    found = checking.read_manifest(here.file)
    forged = Signer("somebody else's").sign(
        campaign=CAMPAIGN, revision=1, final=False, rows=found.rows, sha256=found.sha256
    )
    here.signature.write_text(json.dumps(forged.to_dict() | {"key_id": SIGNER.key_id}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (changed(lambda lines: [*lines[:5], lines[5].replace("A mug", "A cup"), *lines[6:]]), "its SHA-256 is"),
        (changed(lambda lines: [*lines[:5], *lines[6:]]), "line 1: says 21 rows; there are 20"),
        (changed(lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]]), "line 7: row 4 comes after row 5"),
        (changed(lambda lines: [*lines[:5], lines[5].replace(":", ": ", 1), *lines[6:]]), "line 6: it is not written"),
        (changed(lambda lines: [*lines[:5], "{}\n", *lines[6:]]), "line 6: is no row"),
        (changed(lambda lines: [*lines[:5], "nonsense\n", *lines[6:]]), "line 6: Expecting value"),
        (changed(lambda lines: [*lines[:-1], lines[-1].rstrip()]), "line 22: has no end"),
        (changed(lambda lines: [lines[0].replace("21", "22"), *lines[1:]]), "line 1: "),
        (changed(lambda lines: [lines[0].replace(":20", ":19"), *lines[1:]]), "line 1: counts are"),
        (changed(lambda lines: [lines[0].replace('"version":1}', '"version":2}'), *lines[1:]]), "line 1: is of ver"),
        (changed(lambda lines: lines[1:]), "line 1: is no header"),
        (changed(lambda lines: ["\n"]), "line 1: Expecting value"),
        (lambda here: here.file.write_bytes(b""), "line 1: is no header"),
        (lambda here: here.file.write_bytes(b"\xff\n"), "line 1: "),
        (signature(rows=22), "not of this manifest"),
        (signature(signature="AAAA"), "not of this manifest"),
        (signature(key_id="x"), "it is signed with the key x"),
        (signature(algorithm="none"), "mugs.sig.json is no signature"),
        (lambda here: here.signature.write_bytes(b"{"), "mugs.sig.json is no JSON"),
        (swap, "not of this manifest"),
        (lambda here: (here.videos / "mug-4.mp4").unlink(), "line 6: there is no mug-4.mp4"),
        (lambda here: (here.videos / "mug-4.mp4").write_bytes(b"x"), "line 6: mug-4.mp4 has 1 bytes"),
        (lambda here: (here.videos / "mug-4.mp4").write_bytes(b"A video of mug-4"), "line 6: mug-4.mp4 has the SHA"),
    ],
)  # fmt: skip
def test_what_is_not_genuine_is_said_with_the_first_thing_that_is_wrong(
    here: Here, damage: Callable[[Here], object], says: str
) -> None:
    damage(here)
    code, said = here.with_keys("--objects", str(here.videos))
    assert code == 1
    assert said.startswith(f"{here.file} is not genuine: ")
    assert says in said


def test_an_id_that_would_lead_elsewhere_leads_nowhere(here: Here, tmp_path: Path) -> None:
    row = ManifestRow(row=0, custom_id="../mugs", state="succeeded", key="k", sha256="0" * 64, size=1)
    (tmp_path / "mugs.mp4").write_bytes(b"x")
    compare = commands._comparing(str(here.videos), None)
    with pytest.raises(IntegrityError, match=re.escape("there is no ..%2Fmugs.mp4")):
        compare(row)


@pytest.mark.parametrize(
    "options",
    [["--signature", "nowhere"], ["--jwks", "nowhere"], ["--objects", "nowhere"], ["--unknown"], ["--jwks"]],
)
def test_what_is_not_there_is_a_mistake_of_usage(here: Here, options: list[str]) -> None:
    code, said = here.verify(*([] if "--jwks" in options else ["--jwks", str(here.jwks)]), *options)
    assert code == 2, said
    here.file.unlink()
    assert here.with_keys()[0] == 2


# ------------------------------------------------------------ deliveries


def test_a_video_is_delivered_under_another_name_as_often_as_asked(objects: S3Objects) -> None:
    artifact = objects.put("videos/1/1/video.mp4", b"a video", "video/mp4")
    key = "exports/acme/чашка%20 + 茶.mp4"
    for _ in range(2):
        delivered = deliver(objects, artifact, key)
        assert delivered == replace(artifact, key=key)
        objects.verify(delivered)
    answer = httpx.get(objects.presign(key, lifetime_s=60))
    assert (answer.content, answer.headers["content-type"]) == (b"a video", "video/mp4")
    other = objects.put("videos/2/1/video.mp4", b"another video", "video/mp4")
    objects.verify(deliver(objects, other, key))


def test_what_was_not_delivered_whole_is_no_delivery(objects: S3Objects, own_s3_server: S3Server) -> None:
    artifact = objects.put("videos/1/1/video.mp4", b"a video", "video/mp4")
    with pytest.raises(IntegrityError, match="has 7 bytes"):
        deliver(objects, replace(artifact, size=8), "exports/a.mp4")
    with pytest.raises(NotFound):
        deliver(objects, replace(artifact, key="videos/2/1/video.mp4"), "exports/b.mp4")
    away = S3Objects(own_s3_server.new_bucket(max_attempts=1))
    own_s3_server.kill()
    with pytest.raises(ObjectsUnavailable):
        deliver(away, artifact, "exports/a.mp4")
