"""`cogmill demo-campaign`: two dozen videos under one template, from a file of rows to a signed manifest.

It does what a user does, with the Python client; and what befalls a fleet, by killing a worker that renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import psutil
from rich.console import Console

from orchestrator.campaigns import checking
from orchestrator.campaigns.signing import Keys
from orchestrator.commands import contact_sheet, progress
from orchestrator.commands.demo import NoVideo
from orchestrator.domain.errors import CogmillError
from orchestrator.local import ray
from orchestrator.local.layout import DataDir
from orchestrator.local.state import State

if TYPE_CHECKING:
    from cogmill_client import Campaign, Cogmill, Row

    from orchestrator.local.stack import Ready

WORKERS = 2

_PROMPT = "a {product} in {scene}, soft light"
_PRODUCTS = ("mug", "lamp", "chair", "kettle", "clock", "radio")
_SCENES = ("a kitchen", "a forest", "the rain", "an empty hall")
_DEFAULTS = {"size": "96x64", "num_frames": 9, "num_inference_steps": 40}
_SAMPLE = 4
# So many rows are done before a worker is killed, and how often that is tried until one of them was rendering.
_BEFORE = 8
_KILLS = 3
_BETWEEN_S = 10.0
# Between two looks for a moment at which all render, and how far a render may have come then.
_LOOK_S = 0.05
_AMID = 0.75
_PATIENCE_S = 300.0


def run(ready: Ready, out: Path) -> None:
    """Render the campaign, and leave its contact sheet, its manifest and the manifest's signature in `out`.

    Raises `NoVideo` when a row has none, `IntegrityError` when the manifest is not genuine.
    """
    from cogmill_client import Cogmill
    from cogmill_client import CogmillError as Refused

    console = Console(highlight=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with Cogmill(ready.key, ready.api) as cogmill:
            campaign = _sampled(cogmill, out, console)
            campaign = _approved(cogmill, campaign, DataDir(Path(ready.data_dir)), console)
            _accounted(cogmill, campaign, out, console)
    except Refused as error:
        raise CogmillError(str(error)) from None


# ---------------------------------------------------------------- the steps


def _sampled(cogmill: Cogmill, out: Path, console: Console) -> Campaign:
    """Send the rows, and wait for the sample."""
    campaign = cogmill.campaigns.create(_PROMPT, name="demo", defaults=_DEFAULTS, sample=_SAMPLE)
    console.print(f"{campaign.id}: {_PROMPT!r}")
    cogmill.campaigns.upload_input(campaign.id, _write_rows(out / "rows.csv"))
    campaign = _follow(cogmill, campaign)
    if not campaign.needs_approval:
        raise NoVideo(f"the campaign is {progress.stands(campaign)}: {campaign.error}")
    counts = campaign.counts
    console.print(f"{counts.rows} rows and {counts.bad} bad ones, of which {counts.succeeded} are rendered as a sample")
    for bad in cogmill.campaigns.errors(campaign.id):
        console.print(f"  line {bad.line} is left out: {bad.field}: {bad.reason}")
    return campaign


def _approved(cogmill: Cogmill, campaign: Campaign, data: DataDir, console: Console) -> Campaign:
    """Look at the plan, approve it, and wait for the rest, while a worker dies."""
    plan = cogmill.campaigns.plan(campaign.id)
    cost = plan.gpu_seconds
    console.print(f"{plan.plan_token[:12]} costs {cost.likely:.1f} GPU seconds ({cost.low:.1f} to {cost.high:.1f})")
    cogmill.campaigns.approve(campaign.id, plan.plan_token)
    with _Saboteur(cogmill, campaign.id, data, console):
        campaign = _follow(cogmill, campaign)
    if campaign.state != "completed" or campaign.counts.failed:
        raise NoVideo(f"the campaign is {progress.stands(campaign)}, and {campaign.counts.failed} rows failed")
    return campaign


def _accounted(cogmill: Cogmill, campaign: Campaign, out: Path, console: Console) -> None:
    """Save and check what is left of it."""
    manifest, signature, sheet = out / "manifest.jsonl", out / "manifest.sig.json", out / "contact-sheet.png"
    cogmill.campaigns.manifest(campaign.id, manifest)
    signed = cogmill.campaigns.signature(campaign.id)
    signature.write_text(signed.model_dump_json() + "\n", "utf-8")
    found = checking.check(manifest, signature, Keys.parse(cogmill.jwks().model_dump_json()))
    rows = list(cogmill.campaigns.rows(campaign.id))
    _draw(cogmill, rows, sheet)
    for row in rows:
        if row.attempts > 1:
            console.print(f"{row.custom_id} was made by attempt {row.attempts}: its worker had been killed")
    used = cogmill.usage(campaign=campaign.id)
    console.print(
        f"{campaign.counts.succeeded} videos, {used.total.gpu_seconds:.1f} GPU seconds, "
        f"of which {used.total.wasted_gpu_seconds:.1f} came to nothing"
    )
    console.print(f"{sheet}\n  {len(rows)} covers")
    console.print(f"{manifest}\n  genuine: {found.rows} rows, sha256 {found.sha256}, signed by {signed.key_id}")
    console.print(str(signature))


def _follow(cogmill: Cogmill, campaign: Campaign) -> Campaign:
    """Show its events on a bar until it has ended, or needs approval."""
    with progress.of_campaign(as_json=False) as follower:

        def see(changed: Campaign) -> None:
            follower.see(changed)
            if "budget" in changed.pause_reasons:  # this machine is slower than was predicted: look again, and pay
                cogmill.campaigns.approve(changed.id, cogmill.campaigns.plan(changed.id).plan_token)

        return cogmill.campaigns.wait(campaign.id, timeout=_PATIENCE_S, on_event=follower.hear, on_change=see)


# ---------------------------------------------------------------- its parts


class _Saboteur:
    """While it is entered: kills a worker of the stack while all render; again, where that hit none that had a row."""

    def __init__(self, cogmill: Cogmill, campaign_id: str, data: DataDir, console: Console) -> None:
        self._cogmill = cogmill
        self._campaign_id = campaign_id
        self._data = data
        self._console = console
        self._over = Event()
        self._thread = Thread(target=self._run, name="saboteur", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        for _ in range(_KILLS):
            while not self._all_render():
                if self._over.wait(_LOOK_S):
                    return
            worker = self._workers()[0]
            worker.kill()
            self._console.print(f"kill -9 {worker.pid}: a worker is gone while it renders")
            if self._over.wait(_BETWEEN_S) or any(row.attempts > 1 for row in self._rows()):
                return

    def _all_render(self) -> bool:
        """Whether enough rows are done, and every worker is amid a render."""
        rows = self._rows()
        running = [row.video_id for row in rows if row.state == "running" and row.video_id]
        return (
            sum(row.state == "succeeded" for row in rows) >= _BEFORE
            and len(running) >= WORKERS
            and sum(map(self._amid, running)) >= WORKERS
            and len(self._workers()) >= WORKERS
        )

    def _amid(self, video_id: str) -> bool:
        """Whether a render has many of its steps before it."""
        video = self._cogmill.videos.retrieve(video_id)
        return video.stage == "denoising" and video.step < video.steps * _AMID

    def _rows(self) -> list[Row]:
        return list(self._cogmill.campaigns.rows(self._campaign_id))

    def _workers(self) -> list[psutil.Process]:
        """The processes of the render actors, by the title that Ray gives them."""
        head = State.from_json(self._data.state.read_text("utf-8")).parts["ray"]
        found = []
        for member in ray.session(head.pid):
            with suppress(psutil.NoSuchProcess):
                if "RenderActor" in " ".join(member.cmdline()):
                    found.append(member)
        return found


def _write_rows(path: Path) -> Path:
    """A CSV with a row for each product in each scene, and two more that cannot be rendered."""
    rows = [f"{product}-{place},{product},{scene}," for product in _PRODUCTS for place, scene in enumerate(_SCENES, 1)]
    rows.insert(5, "mug-nowhere,mug,,")
    rows.insert(15, "kettle-huge,kettle,a kitchen,4096x4096")
    path.write_text("custom_id,product,scene,size\n" + "".join(f"{row}\n" for row in rows), "utf-8")
    return path


def _draw(cogmill: Cogmill, rows: Sequence[Row], path: Path) -> None:
    """The covers of these rows on one picture."""
    with TemporaryDirectory() as directory:
        stills = []
        for row in rows:
            if row.video_id is None:
                raise NoVideo(f"{row.custom_id} has no video")
            cover = cogmill.videos.download(row.video_id, Path(directory) / row.video_id, variant="thumbnail")
            stills.append((cover, row.custom_id, f"seed {row.seed}"))
        contact_sheet.draw(path, f"cogmill demo-campaign: {_PROMPT}", stills)
