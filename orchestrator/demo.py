"""`cogmill demo`: one video over HTTP, from the request to a checked file, with a bar that moves with real steps."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.domain.errors import CogmillError, IntegrityError, RenderFailed

if TYPE_CHECKING:
    from orchestrator.local.stack import Ready

_POLL_S = 0.1
_PATIENCE_S = 300.0


def run(ready: Ready, prompt: str, out: Path) -> None:
    """Render `prompt`, download MP4 and cover into `out`, compare the checksum, and print what they are.

    Raises `RenderFailed` when the video fails, `IntegrityError` when the file is not the one that was recorded.
    """
    console = Console()
    headers = {"Authorization": f"Bearer {ready.key}"}
    with httpx.Client(base_url=ready.api, headers=headers, timeout=30) as client:
        video = _get(client.post("/v1/videos", json={"prompt": prompt})).json()
        console.print(f"POST {ready.api}/v1/videos  ->  {video['id']}", highlight=False)
        video = _follow(client, video["id"], console)
        out.mkdir(parents=True, exist_ok=True)
        mp4, cover = out / f"{video['id']}.mp4", out / f"{video['id']}.png"
        mp4.write_bytes(_checked(_get(client.get(f"/v1/videos/{video['id']}/content"))))
        cover.write_bytes(_checked(_get(client.get(f"/v1/videos/{video['id']}/content?variant=thumbnail"))))
    for line in (*_describe(mp4, video), *_describe(cover, None)):
        console.print(line, highlight=False, soft_wrap=True)


def _follow(client: httpx.Client, video_id: str, console: Console) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[place]}"),
        TimeElapsedColumn(),
    )
    deadline = time.monotonic() + _PATIENCE_S
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("queued", total=100, place="")
        while time.monotonic() < deadline:
            video: dict[str, Any] = _get(client.get(f"/v1/videos/{video_id}")).json()
            place = f"step {video['step']}/{video['steps']}"
            bar.update(task, completed=video["progress"], description=video["stage"] or video["status"], place=place)
            if video["status"] == "completed":
                return video
            if video["status"] == "failed":
                raise RenderFailed(video["error"]["code"], f"the video failed: {video['error']['message']}")
            time.sleep(_POLL_S)
    raise RenderFailed("slow", f"the video did not end within {_PATIENCE_S:.0f} s")
