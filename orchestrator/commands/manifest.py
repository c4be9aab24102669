"""`cogmill manifest verify`: whether a campaign's manifest is genuine, and its videos are those that it names."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from orchestrator.commands.options import DataDirOption, path, settings_of
from orchestrator.domain.errors import CogmillError, IntegrityError, NotFound

if TYPE_CHECKING:
    from orchestrator.campaigns.signing import Keys
    from orchestrator.domain.manifest import ManifestRow

# The rest is imported by the command that needs it, as in orchestrator.cli.

manifest = typer.Typer(help="Manifests of campaigns.", no_args_is_help=True)

# Seconds between two lines that say how far it is.
_TOLD_EVERY_S = 5.0
_THREADS = 8
# Rows that are under way at once, so that a million of them need no memory.
_AHEAD = 4 * _THREADS
_CHUNK = 2**20
_FETCHED_WITHIN_S = 10.0
_MAX_JWKS_BYTES = 2**20

# Raises `IntegrityError` where the object of a row is not what the row says.
Compare = Callable[["ManifestRow"], None]


@manifest.callback()
def _group() -> None:
    """Manifests of campaigns."""


@manifest.command()
def verify(
    file: Annotated[Path, typer.Argument(parser=path, metavar="FILE", help="A manifest, as JSONL.")],
    signature: Annotated[
        Path | None,
        typer.Option(help="Its signature.", show_default="FILE with .sig.json", parser=path, metavar="PATH"),
    ] = None,
    jwks: Annotated[
        str | None,
        typer.Option(
            help="The public keys, as the deployment has them at /.well-known/jwks.json.",
            show_default="this deployment's own",
            metavar="PATH|URL",
        ),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(
            help="Read the videos too: files CUSTOM_ID.mp4 in a directory, or those of the deployment's bucket (s3).",
            metavar="DIRECTORY|s3",
        ),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Read FILE and say whether it is as it was signed; exit code 1, and the first thing that is wrong, if not."""
    from orchestrator.campaigns import checking

    beside = signature or file.with_suffix(".sig.json")
    for needed in (file, beside):
        if not needed.is_file():
            raise typer.BadParameter(f"there is no file {needed}")
    keys = keys_of(jwks, data_dir)
    compare = None if objects is None else _comparing(objects, data_dir)
    try:
        found = checking.check(file, beside, keys, _telling("rows"))
        videos = 0 if compare is None else _compare_all(checking.videos_of(file), compare)
    except IntegrityError as error:
        typer.echo(f"{file} is not genuine: {error}", err=True)
        raise typer.Exit(1) from None
    final = "final" if found.header["final"] else "not final"
    said = f"{file} is genuine: {found.header['campaign']}, revision {found.header['revision']}, {final}"
    typer.echo(f"{said}, {found.rows} rows" + ("" if compare is None else f", {videos} videos as they were made"))


def keys_of(jwks: str | None, data_dir: Path | None) -> Keys:
    """The keys that a file or a URL holds, or the deployment's own."""
    from orchestrator.campaigns.signing import Keys, jwks_of

    if jwks is None:
        return Keys.of(jwks_of(settings_of(data_dir).needed_ring))
    if urlsplit(jwks).scheme in ("http", "https"):
        return Keys.parse(_fetched(jwks))
    if not Path(jwks).is_file():
        raise typer.BadParameter(f"there is no file {jwks}", param_hint="--jwks")
    return Keys.parse(Path(jwks).read_bytes())


def _fetched(url: str) -> bytes:
    import httpx

    try:
        with httpx.stream("GET", url, timeout=_FETCHED_WITHIN_S) as answer:
            answer.raise_for_status()
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _MAX_JWKS_BYTES:
                    raise CogmillError(f"{url} is no key set: it is too large")
            return bytes(data)
    except httpx.HTTPError as error:
        raise CogmillError(f"{url} cannot be had: {error}") from None


def _comparing(where: str, data_dir: Path | None) -> Compare:
    """How a row's video is found and compared."""
    from orchestrator.domain.delivering import step_of

    if where == "s3":
        from orchestrator.adapters.s3 import S3Objects

        bucket = S3Objects(settings_of(data_dir).s3)

        def in_bucket(row: ManifestRow) -> None:
            try:
                _same(row, row.key or "", bucket.stream(row.key or ""))
            except NotFound:
                raise IntegrityError(f"{row.key} is gone") from None

        return in_bucket
    directory = Path(where)
    if not directory.is_dir():
        raise typer.BadParameter(f"there is no directory {where}", param_hint="--objects")

    def in_directory(row: ManifestRow) -> None:
        copy = directory / f"{step_of(row.custom_id)}.mp4"
        if not copy.is_file():
            raise IntegrityError(f"there is no {copy.name}")
        _same(row, copy.name, _chunks(copy))

    return in_directory


def _chunks(copy: Path) -> Iterator[bytes]:
    with copy.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _same(row: ManifestRow, name: str, chunks: Iterable[bytes]) -> None:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    if size != row.size:
        raise IntegrityError(f"{name} has {size} bytes; the manifest says {row.size}")
    if digest.hexdigest() != row.sha256:
        raise IntegrityError(f"{name} has the SHA-256 {digest.hexdigest()}; the manifest says {row.sha256}")


def _compare_all(videos: Iterator[tuple[int, ManifestRow]], compare: Compare) -> int:
    """How many there are. What is wrong first is said first, whichever thread finds it first."""
    tell, done = _telling("videos"), 0
    with ThreadPoolExecutor(_THREADS, "compare") as threads:
        running: list[tuple[int, Future[None]]] = []
        try:
            while True:
                fresh = islice(videos, _AHEAD - len(running))
                running += [(line, threads.submit(compare, row)) for line, row in fresh]
                if not running:
                    return done
                line, first = running.pop(0)
                try:
                    first.result()
                except IntegrityError as error:
                    raise IntegrityError(f"line {line}: {error}") from None
                tell(done := done + 1)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _telling(what: str) -> Callable[[int], None]:
    """Says now and then how many there were, on stderr."""
    said = time.monotonic()

    def tell(count: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _TOLD_EVERY_S:
            said = now
            typer.echo(f"{count} {what}", err=True)

    return tell
