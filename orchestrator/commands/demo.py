"""`cogmill demo`: one video over HTTP, from the request to checked files, with a bar that moves with real steps."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.domain.errors import CogmillError, IntegrityError

if TYPE_CHECKING:
    from orchestrator.local.stack import Ready

_POLL_S = 0.1
_PATIENCE_S = 300.0


class NoVideo(CogmillError):
    """The one video of the demo is not there; the message says why."""


def run(ready: Ready, prompt: str, out: Path) -> None:
    """Render `prompt`, download MP4 and thumbnail into `out`, compare their checksums, and print what they are.

    Raises `NoVideo` when there is none, `IntegrityError` when a file is not the one that was recorded.
    """
    console = Console(highlight=False, soft_wrap=True)
    headers = {"Authorization": f"Bearer {ready.key}"}
    with httpx.Client(base_url=ready.api, headers=headers, timeout=30, trust_env=False) as client:
        video_id = _ok(client.post("/v1/videos", json={"prompt": prompt})).json()["id"]
        console.print(f"POST {ready.api}/v1/videos: {video_id}")
        _follow(client, video_id, console)
        out.mkdir(parents=True, exist_ok=True)
        mp4 = _download(client, f"/v1/videos/{video_id}/content", out / f"{video_id}.mp4")
        thumbnail = _download(client, f"/v1/videos/{video_id}/content?variant=thumbnail", out / f"{video_id}.webp")
    for path in (mp4, thumbnail):
        console.print(f"{path}\n  {_describe(path)}\n  sha256 {_sha256(path)}")


def _follow(client: httpx.Client, video_id: str, console: Console) -> None:
    """Show the job's progress until its video is there. Raises `NoVideo` when it fails or takes for ever."""
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        TextColumn("{task.fields[steps]}"),
        TimeElapsedColumn(),
    )
    deadline = time.monotonic() + _PATIENCE_S
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("queued", total=100, steps="")
        while time.monotonic() < deadline:
            video: dict[str, Any] = _ok(client.get(f"/v1/videos/{video_id}")).json()
            place = video["stage"] or "starting" if video["status"] == "in_progress" else video["status"]
            done = f"step {video['step']} of {video['steps']}"
            bar.update(task, completed=video["progress"], description=place, steps=done)
            if video["status"] == "completed":
                return
            if video["status"] == "failed":
                raise NoVideo(f"the video failed: {video['error']['message']}")
            time.sleep(_POLL_S)
    raise NoVideo(f"the video was not there within {_PATIENCE_S:.0f} s")


def _download(client: httpx.Client, url: str, path: Path) -> Path:
    """Save an object whose ETag is its SHA-256. Raises `IntegrityError` and writes nothing when they differ."""
    answer = _ok(client.get(url))
    recorded = answer.headers["etag"].strip('"')
    if hashlib.sha256(answer.content).hexdigest() != recorded:
        raise IntegrityError(f"{url} does not have the recorded SHA-256 {recorded}")
    path.write_bytes(answer.content)
    return path


def _describe(path: Path) -> str:
    """Size, and what decoding it says: width, height, frames and rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        rate = f", {frames} frames, {float(stream.average_rate or 0):g} fps" if path.suffix == ".mp4" else ""
        return f"{path.stat().st_size} bytes, {stream.width}x{stream.height}{rate}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ok(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise CogmillError(
            f"{answer.request.method} {answer.request.url} was answered {answer.status_code}: {answer.text}"
        )
    return answer
