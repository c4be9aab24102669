"""The pages Jobs, A job and Gallery, as people use them: found, acted on, looked at; for a tenant and for an admin."""

from __future__ import annotations

import io
from collections.abc import Iterator

import asyncpg
import av
import pytest
from PIL import Image
from playwright.async_api import Route, expect

from orchestrator.config.logins import Login
from orchestrator.domain.job import Artifact
from orchestrator.domain.protocol import Stage
from orchestrator.domain.rights import ROLES, USUAL, Role
from orchestrator.intake.bulk import BulkCarrier
from orchestrator.ports import Progress
from tests.support import api as published
from tests.support.builders import prefix_of
from tests.support.console import LOOKS, Console, findings, overflow, shot
from tests.support.logins import acting

pytestmark = pytest.mark.asyncio(loop_scope="session")


def still(colour: str, kind: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(data, kind)
    return data.getvalue()


@pytest.fixture(scope="module", autouse=True)
def pictures() -> Iterator[None]:
    """Videos of this module have a first frame and frames that a browser shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "THUMBNAIL", still("teal", "WEBP"))
        patch.setattr(published, "COVER", still("teal", "PNG"))
        patch.setattr(published, "VIDEO", a_video())
        yield


def a_video() -> bytes:
    """A second of VP9 in MP4: not every Chromium has H.264."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libvpx-vp9", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(8):
            frame = av.VideoFrame.from_image(Image.new("RGB", (96, 64), (0, 30 * number, 128)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return data.getvalue()


NASTY = "<img src=x onerror=alert(1)> a lighthouse"


async def three(console: Console) -> tuple[str, str, str]:
    """One that succeeded, one that failed, and one that waits; in this order."""
    done = await console.video("a mill on a river", metadata={"team": "news"})
    await console.api.publish(await console.api.claim(done), stills=True, stages={"denoising": 0.5, "encoding": 0.1})
    failed = await console.video("a castle in fog")
    await console.api.fail(failed)
    return done, failed, await console.video(NASTY)


async def test_jobs_are_found_by_filters_that_live_in_the_url(console: Console) -> None:
    await three(console)
    page = await console.page("/jobs")
    rows = page.locator("tbody tr")
    await page.get_by_text(NASTY).first.wait_for()
    await page.get_by_role("button", name="Failed 1").click()
    await expect(rows).to_have_count(1)
    assert page.url.endswith("?state=failed")
    await page.go_back()
    await page.goto(f"{console.url}/jobs?text=MILL")
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="Clear filters").click()
    await expect(rows).not_to_have_count(1)
    await page.goto(f"{console.url}/jobs?text=no-such-words")
    await page.get_by_role("heading", name="No job matches").wait_for()
    await page.goto(f"{console.url}/jobs?metadata=team%3Dnews&created_from=2020-01-01T00%3A00")
    await expect(rows).to_have_count(1)
    assert console.errors == []


async def test_a_filter_is_saved_by_name_and_chosen_again(console: Console) -> None:
    await three(console)
    page = await console.page("/jobs?state=failed&text=castle")
    await page.get_by_role("button", name="Saved filters").click()
    await page.get_by_role("menuitem", name="Save this filter…").click()
    await page.get_by_label("Name").fill("foggy castles")
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.get_by_text("Saved as foggy castles").wait_for()
    await page.goto(f"{console.url}/jobs")
    await page.get_by_role("button", name="Saved filters").click()
    await page.get_by_role("menuitem", name="foggy castles", exact=True).click()
    await page.wait_for_url("**/jobs?*state=failed*")
    assert "text=castle" in page.url
    await page.get_by_role("button", name="Saved filters").click()
    await page.get_by_role("menuitem", name="Delete foggy castles").click()
    await page.get_by_text("Deleted foggy castles").wait_for()
    assert (await console.api.http.get("/v1/job-filters")).json()["data"] == []


async def test_jobs_are_walked_and_cancelled_by_keyboard_alone(console: Console) -> None:
    _, _, waits = await three(console)
    page = await console.page("/jobs")
    await page.get_by_text(NASTY).first.wait_for()
    await page.keyboard.press("j")
    await page.keyboard.press("c")
    await page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    await page.get_by_text("Cancelled", exact=True).last.wait_for()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert (await console.api.http.get(f"/v1/jobs/{waits}")).json()["state"] == "cancelled"
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/jobs/{waits}")


async def test_all_that_match_are_retried_with_progress(console: Console) -> None:
    _, failed, _ = await three(console)
    page = await console.page("/jobs?state=failed")
    await page.get_by_role("button", name="Act on all that match").click()
    window = page.get_by_role("dialog")
    await window.get_by_text("jobs match now.").wait_for()
    await expect(window.get_by_label("What to do")).to_have_value("retry")
    await shot(page, "jobs-act-on-all")
    await window.get_by_role("button", name="Try them again").click()
    bar = page.get_by_role("region", name="Try all that match again")
    await bar.get_by_role("button", name="Stop").wait_for()
    await BulkCarrier(acting(console.api.services.store, Login.MAINTAIN), console.api.services.jobs).run_once()
    await bar.get_by_role("button", name="Close").wait_for()
    await expect(bar.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    await shot(page, "jobs-acted-on-all")
    again = (await console.api.http.get("/v1/jobs", params={"state": "queued"})).json()["data"]
    assert failed in {job["video"]["retry_of"] for job in again}
    assert console.errors == []


async def test_a_job_shows_a_render_live_and_then_its_video(console: Console) -> None:
    job = await console.video("a lighthouse at dusk")
    page = await console.page(f"/jobs/{job}")
    await page.get_by_role("heading", name="Why it waits").wait_for()
    await shot(page, "job-waits")
    claim = await console.api.claim(job)
    await console.api.step(claim, 7)
    await page.get_by_text("step 7 of").wait_for()
    await page.get_by_role("status").get_by_text("Denoising").wait_for()
    preview = console.api.services.objects.put(f"{prefix_of(claim)}preview.png", still("navy", "PNG"), "image/png")
    kept = Artifact(key=preview.key, size=preview.size, sha256=preview.sha256, content_type="image/png")
    render = Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=9, preview=kept)
    await console.api.dispatching.record_progress([render])
    await page.locator(".player img").wait_for()
    await shot(page, "job-renders")
    await console.api.publish(claim, stills=True, stages={"denoising": 0.5, "encoding": 0.1, "decoding": 0.2})
    await page.locator(".player video").wait_for()
    await page.get_by_role("group", name="Its life").get_by_text("Attempt 1").wait_for()
    assert console.errors == []


async def test_a_failed_job_says_why_and_runs_again_with_changes(console: Console) -> None:
    _, failed, _ = await three(console)
    page = await console.page(f"/jobs/{failed}")
    await page.get_by_text("The render did not fit into the GPU's memory").wait_for()
    await page.get_by_role("button", name="Run again with changes…").click()
    window = page.get_by_role("dialog")
    await window.get_by_label("Prompt", exact=True).fill("a castle in sunshine")
    await window.get_by_label("Seed").fill("x")
    await window.get_by_role("button", name="Make it").click()
    await window.get_by_text("seed").first.wait_for()
    await shot(page, "job-again")
    await window.get_by_label("Seed").fill("77")
    await window.get_by_role("button", name="Make it").click()
    await page.get_by_role("heading", name="a castle in sunshine").wait_for()
    made = (await console.api.http.get(f"/v1/videos/{page.url.rpartition('/')[2]}")).json()
    assert (made["seed"], made["size"], made["num_frames"]) == (77, "96x64", 33)


async def test_a_job_is_copied_as_command_and_program(console: Console) -> None:
    job = await console.video('it\'s "quoted" $HOME', seed=5)
    page = await console.page(f"/jobs/{job}")
    await page.get_by_role("button", name="Copy as…").click()
    window = page.get_by_role("dialog")
    for tab, wanted in (("curl", "it'\\''s"), ("Python", "seed=5"), ("CLI", "cogmill submit 'it'\\''s")):
        await window.get_by_role("tab", name=tab).click()
        await window.get_by_text(wanted).wait_for()
    assert "cgm_" not in await window.inner_text()
    await shot(page, "job-copy")


async def test_notes_are_written_and_taken_back(console: Console) -> None:
    job = await console.video()
    page = await console.page(f"/jobs/{job}")
    await page.get_by_label("A note for everybody of your team").fill("<b>flickers</b> at 0:03")
    await page.get_by_role("button", name="Write").click()
    await page.get_by_role("article").get_by_text("<b>flickers</b> at 0:03").wait_for()
    await page.get_by_role("button", name="Delete the note").click()
    await page.get_by_text("Note deleted").wait_for()
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_role("article").wait_for()


async def test_deliveries_are_listed_and_sent_again(console: Console) -> None:
    done, *_ = await three(console)
    await delivered(console, done)
    page = await console.page(f"/jobs/{done}")
    await page.get_by_role("button", name="Show the tries").click()
    await expect(page.get_by_role("dialog")).to_contain_text("204")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Send again").click()
    await page.get_by_text("It is sent again").wait_for()
    await expect(page.get_by_text("Pending")).to_be_visible()


async def test_the_gallery_plays_where_somebody_is(console: Console) -> None:
    done, failed, _ = await three(console)
    page = await console.page("/gallery")
    first = page.locator(".still").first
    await first.wait_for()
    assert await page.locator(f"a[href$='{failed}']").count() == 0
    await first.hover()
    await first.locator("video").wait_for()
    await shot(page, "gallery-plays")
    await page.mouse.move(0, 0)
    await expect(page.locator(".still video")).to_have_count(0)
    await page.keyboard.press("j")
    await expect(first.locator("a")).to_be_focused()
    await first.locator("video").wait_for()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/jobs/video_*")
    await page.get_by_role("link", name="Download").wait_for()
    assert done


async def test_an_administrator_sees_all_tenants_and_no_prompts(console: Console) -> None:
    _, failed, waits = await three(console)
    page = await console.page("/jobs", key=await console.api.key("staff", scopes=ROLES[Role.ADMIN] | USUAL))
    await page.get_by_role("cell", name=console.api.tenant).first.wait_for()
    assert "lighthouse" not in await page.inner_text("main")
    await shot(page, "jobs-admin")
    await page.goto(f"{console.url}/jobs/{waits}")
    await page.get_by_role("heading", name=f"A job of {console.api.tenant}").wait_for()
    await page.get_by_role("button", name="Cancel the job").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    await page.get_by_text("Cancelled").first.wait_for()
    await page.goto(f"{console.url}/jobs/{failed}")
    await page.get_by_role("button", name="Try again").wait_for()
    assert "castle" not in await page.inner_text("main")
    assert console.errors == []


async def test_a_reader_is_offered_nothing_that_changes(console: Console) -> None:
    _, failed, _ = await three(console)
    page = await console.page("/jobs", key=await console.api.key(scopes=frozenset({"read"})))
    await page.get_by_text(NASTY).first.wait_for()
    assert await page.get_by_role("button", name="Act on all that match").count() == 0
    await page.goto(f"{console.url}/jobs/{failed}")
    await page.get_by_text("The render did not fit into").wait_for()
    for name in ("Try again", "Run again with changes…", "Write"):
        assert await page.get_by_role("button", name=name).count() == 0


# Of every bar of an attempt, and of every line below: colour, pattern, and how its colour stands out of what is behind.
_LOOKS_OF_SPANS = """() => {
    const brightness = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255)
        .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
        .reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0.05);
    const card = brightness(getComputedStyle(document.querySelector(".gantt").closest(".card")).backgroundColor);
    const all = (where) => [...document.querySelectorAll(where)];
    const look = (element, part) => {
        const { backgroundColor, backgroundImage } = getComputedStyle(element, part);
        const [one, other] = [brightness(backgroundColor), card].sort((a, b) => a - b);
        return [backgroundColor, backgroundImage, other / one];
    };
    return [
        all(".gantt .lane i").map((each) => [each.title.split(":")[0], ...look(each)]),
        all(".legend.patterns li").map((each) => [each.innerText, ...look(each, "::before")]),
    ];
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_kind_of_span_is_told_apart_also_without_its_colour(console: Console, theme: str) -> None:
    done, *_ = await three(console)
    stages = ["waiting", "claim", *(stage for stage in Stage if stage is not Stage.ENDED), "rendering", "newer"]

    async def lived_through_all(route: Route) -> None:
        answer = await route.fetch()
        spans = [
            {"attempt": 1 + at // 8, "stage": stage, "begins_at": 1.7e9 + 60 * at, "ends_at": 1.7e9 + 60 * at + 60}
            for at, stage in enumerate(stages)
        ]
        await route.fulfill(response=answer, json={**await answer.json(), "spans": spans})

    page = await console.page(theme=theme)
    await page.route(f"**/v1/jobs/{done}", lived_through_all)
    await page.goto(f"{console.url}/jobs/{done}")
    await page.get_by_role("list", name="What the bars mean").get_by_text("newer").wait_for()
    await shot(page, f"job-spans-{theme}", whole=True)
    spans, legend = await page.evaluate(_LOOKS_OF_SPANS)
    kinds = {tuple(each) for each in spans}
    assert {tuple(each) for each in legend} == kinds
    assert len(spans) == len(stages)
    assert len(kinds) == len(stages) - 1, "the way to a worker is a part of loading"
    patterns = [pattern for _, _, pattern, _ in kinds]
    assert len(set(patterns)) == len(patterns)
    assert len({colour for _, colour, _, _ in kinds}) == len(kinds) - 2, "two more share a colour"
    assert min(contrast for *_, contrast in kinds) >= 3
    assert await findings(page) == []


@pytest.mark.parametrize(("width", "theme", "language"), LOOKS)
async def test_the_pages_can_be_read_by_everybody(console: Console, width: int, theme: str, language: str) -> None:
    done, failed, _ = await three(console)
    page = await console.page("", width=width, theme=theme, language=language)
    for path, name in (
        ("/jobs", "Jobs"), (f"/jobs/{done}", "a mill on a river"), (f"/jobs/{failed}", "a castle in fog"),
        ("/gallery", "Gallery"),
    ):  # fmt: skip
        await page.goto(f"{console.url}{path}")
        await page.get_by_role("heading", level=1).wait_for()
        await expect(page.locator(".loading")).to_have_count(0)
        await shot(page, f"{name.replace(' ', '-')}-{width}-{theme}", whole=True)
        assert await findings(page) == [], path
        assert await overflow(page) <= 0, path


async def delivered(console: Console, job: str) -> None:
    connection = await asyncpg.connect(console.api.settings.database_url)
    await connection.execute(
        """WITH sent AS (
           INSERT INTO deliveries
               (id, event_id, tenant, url, host, event_type, body, give_up_at, state, ended_at, attempts)
           SELECT (substr(j.id::text, 1, 9) || 'ffff-7000-8000-000000000001')::uuid, 'evt_1', j.tenant,
                  'https://r.example/hook', 'r.example:443', 'video.completed',
                  json_build_object('type', 'video.completed', 'data', json_build_object('id', $2::text)),
                  now() + interval '1 day', 'delivered', now(), 1
           FROM jobs AS j WHERE j.id = $1
           RETURNING tenant, id)
           INSERT INTO delivery_attempts (tenant, delivery, number, at, seconds, status)
           SELECT tenant, id, 1, now(), 0.2, 204 FROM sent""",
        job.removeprefix("video_"),
        job,
    )
    await connection.close()
