"""`cogmill submit` and `cogmill jobs`: single videos, for whoever has a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.commands import progress, tables
from orchestrator.commands.connection import (
    CODES,
    Exit,
    JsonLinesOption,
    JsonOption,
    TimeoutOption,
    UseOption,
    connected,
    values,
)
from orchestrator.commands.options import path
from orchestrator.domain.errors import CogmillError

if TYPE_CHECKING:
    from cogmill_client import Cogmill, Video

jobs = typer.Typer(help="Videos that were asked for one by one.", no_args_is_help=True, epilog=CODES)

IdArgument = Annotated[str, typer.Argument(metavar="ID")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...")]
_NAMES = {"video": "mp4", "thumbnail": "webp", "spritesheet": "jpg"}


def submit(
    prompt: Annotated[str | None, typer.Argument(metavar="[PROMPT]", help="What the video shows.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            parser=path, metavar="PATH", help="JSON Lines, a video each: a text, or an object of a request's fields."
        ),
    ] = None,
    image: Annotated[str | None, typer.Option(metavar="PATH|URL|FILE_ID", help="The first frame.")] = None,
    model: Annotated[str | None, typer.Option(help="A configured model, or an alias of one.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH")] = None,
    seconds: Annotated[float | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    profile: Annotated[str | None, typer.Option(metavar="exact|fast|draft", help="Quality for speed.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What it must not show.")] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other field of a request; may be repeated."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the videos are there.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="PATH", help="Wait, and save it there; with --file, in that directory."),
    ] = None,
    launch: Annotated[bool, typer.Option("--open", help="Wait, save it, and show it.")] = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Ask for a video, or for one of each line of a file."""
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give a prompt or --file, and not both", param_hint="PROMPT")
    given: dict[str, Any] = {
        "model": model, "size": size, "seconds": seconds, "seed": seed, "profile": profile,
        "negative_prompt": negative_prompt, "image": _picture(image), **values(fields, "--set"),
    }  # fmt: skip
    common = {name: value for name, value in given.items() if value is not None}
    wanted = [common | each for each in (_lines(file) if file is not None else [{"prompt": prompt}])]
    with connected(use) as cogmill:
        videos = _made(cogmill, wanted, as_json=as_json)
        if wait or out is not None or launch:
            videos = [_waited(cogmill, video, timeout) for video in videos]
        if out is not None or launch:
            _save_all(cogmill, videos, out, whole_file=file is not None, launch=launch)
    if as_json:
        tables.document(videos if file is not None else videos[0])
    _end(videos)


@jobs.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """List videos."""
    with connected(use) as cogmill:
        videos = list(cogmill.videos.list(limit=limit))
    if as_json:
        tables.document(videos)
        return
    heads = ("id", "status", "%", "model", "size", "created (UTC)", "prompt")
    tables.table(
        heads,
        [
            (video.id, video.status, video.progress, video.model, video.size, tables.when(video.created_at),
             _short(video.prompt))
            for video in videos
        ],
    )  # fmt: skip


@jobs.command()
def show(video_id: IdArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """Say all that is known of a video."""
    with connected(use) as cogmill:
        _shown(cogmill.videos.retrieve(video_id), as_json=as_json)


@jobs.command()
def cancel(video_ids: IdsArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """Call videos off; those that have ended stay as they are."""
    with connected(use) as cogmill:
        _told([cogmill.videos.cancel(video_id) for video_id in video_ids], as_json=as_json)


@jobs.command()
def retry(video_ids: IdsArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """Ask for videos like those that failed or were cancelled, and print the new ones."""
    with connected(use) as cogmill:
        _told([cogmill.videos.retry(video_id) for video_id in video_ids], as_json=as_json)


@jobs.command()
def download(
    video_id: IdArgument,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="PATH", help="Where it goes.", show_default="ID.mp4")
    ] = None,
    variant: Annotated[
        Literal["video", "thumbnail", "spritesheet"], typer.Option(help="Which of its files.")
    ] = "video",
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Save a finished video, compared with its SHA-256; a download that broke off is taken up again."""
    with connected(use) as cogmill:
        saved = cogmill.videos.download(video_id, out or Path(f"{video_id}.{_NAMES[variant]}"), variant=variant)
    if as_json:
        tables.document({"id": video_id, "path": str(saved), "bytes": saved.stat().st_size})
    else:
        typer.echo(saved)


@jobs.command(epilog=CODES)
def watch(
    video_id: IdArgument, timeout: TimeoutOption = None, as_json: JsonLinesOption = False, use: UseOption = None
) -> None:
    """Follow a video to its end."""
    with connected(use) as cogmill:
        video = _waited(cogmill, cogmill.videos.retrieve(video_id), timeout, as_json=as_json)
    if not as_json:
        typer.echo(f"{video.id}: {video.status}")
    _end([video])


def _made(cogmill: Cogmill, wanted: list[dict[str, Any]], *, as_json: bool) -> list[Video]:
    """Ask for each. Where one is refused, those before it are not lost: they are printed."""
    videos: list[Video] = []
    try:
        for each in wanted:
            videos.append(cogmill.videos.create(**each))
            if not as_json:
                typer.echo(videos[-1].id)
    except BaseException:
        if as_json and videos:
            tables.document(videos)
        raise
    return videos


def _waited(cogmill: Cogmill, video: Video, timeout: float | None, *, as_json: bool = False) -> Video:
    with progress.of_video(video.id, as_json=as_json) as hear:
        return cogmill.videos.wait(video.id, timeout=timeout, on_event=hear)


def _save_all(cogmill: Cogmill, videos: list[Video], out: Path | None, *, whole_file: bool, launch: bool) -> None:
    for video in videos:
        if video.status == "completed":
            named = out is not None and not whole_file and not out.is_dir()
            target = out if named and out is not None else (out or Path()) / f"{video.id}.mp4"
            saved = cogmill.videos.download(video.id, target)
            typer.echo(str(saved), err=True)
            if launch:
                typer.launch(str(saved))


def _end(videos: list[Video]) -> None:
    """Say why videos failed, and exit with 3 if one has."""
    failed = [video for video in videos if video.status == "failed"]
    for video in failed:
        why = f"{video.error.code}: {video.error.message}" if video.error else "failed"
        typer.echo(f"cogmill: {video.id}: {why}", err=True)
    if failed:
        raise typer.Exit(Exit.FAILED)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """The requests of a file. Raises `CogmillError` about the first line that is none."""
    from orchestrator.domain import jsontext

    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            said = jsontext.parse(line)
        except ValueError as error:
            raise CogmillError(f"{file}, line {number}: no JSON: {error}") from None
        one = {"prompt": said} if isinstance(said, str) else said
        if not isinstance(one, dict) or not isinstance(one.get("prompt"), str):
            raise CogmillError(f"{file}, line {number}: prompt: must be a text, alone or in an object")
        yield one


def _picture(text: str | None) -> str | Path | None:
    return text if text is None or text.startswith(("http://", "https://", "data:", "file-")) else Path(text)


def _told(videos: list[Video], *, as_json: bool) -> None:
    if as_json:
        tables.document(videos)
        return
    for video in videos:
        typer.echo(f"{video.id}  {video.status}")


def _shown(video: Video, *, as_json: bool) -> None:
    if as_json:
        tables.document(video)
        return
    moments = {name: tables.when(getattr(video, name)) for name in ("created_at", "started_at", "completed_at")}
    error = f"{video.error.code}: {video.error.message}" if video.error else None
    others = {name: value for name, value in video.model_dump().items() if value not in (None, [], False)}
    others |= {name: f"{value} UTC" for name, value in moments.items() if value} | {"error": error}
    # Last, as it is two lines where the others are one.
    tables.facts(others | {"forecast": None} | _expected(video))


def _expected(video: Video) -> dict[str, str]:
    """When a video that waits starts and ends, as far as that is known."""
    told = video.forecast
    if told is None:
        return {}
    parts = {"starts about": told.starts, "ends about": told.ends}
    return {
        name: tables.between(part.low_at, part.likely_at, part.high_at)
        or f"never: {told.reason or 'it waits too long'}"
        for name, part in parts.items()
    }


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
