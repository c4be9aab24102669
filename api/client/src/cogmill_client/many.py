"""All videos of a campaign on disk: several at once, compared with their SHA-256; what is there is left alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from pydantic import TypeAdapter

from cogmill_client.downloads import fetch, sha256_of
from cogmill_client.drivers import AsyncDriver, Driver
from cogmill_client.effects import Request, Steps, run
from cogmill_client.errors import ApiError, ChecksumMismatch, CogmillError, ConfigurationError, ConnectionFailed
from cogmill_client.exchange import reads_as
from cogmill_client.models.rows import Link
from cogmill_client.names import Names
from cogmill_client.urls import at, query

# How often the links are asked for anew, where some have run out before their turn came.
_PASSES = 20
_read_link = reads_as(TypeAdapter(Link), "link")


@dataclass(slots=True)
class Downloaded:
    """What became of a campaign's videos: counts, and why some are not there, by custom id."""

    saved: int = 0
    present: int = 0
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class _Work:
    """What both clients do for each row. Rows are under way in threads, so that the counts have a lock."""

    def __init__(
        self,
        campaign_id: str,
        directory: Path,
        pattern: str,
        workers: int,
        on_file: Callable[[str, Path], object] | None,
    ) -> None:
        if workers < 1:
            raise ConfigurationError("workers: must be 1 or more")
        self.done = Downloaded()
        self.workers = workers
        self._campaign_id, self._directory, self._on_file = campaign_id, directory, on_file
        self._names = Names(pattern)
        # Whose link had run out; None in the first pass, which is about all.
        self._again: set[str] | None = None
        self._stale: set[str] = set()
        self._in_a_row = 0
        self._lock = Lock()

    def links(self, path: Path) -> Steps[Path]:
        """Save the list first: a stream that is read at the pace of downloads would break off."""
        url = at("/v1/campaigns/{}/manifest", self._campaign_id)
        return fetch(Request(method="GET", url=url, query=query(format="links")), path, resume=False)

    def todo(self, path: Path) -> Iterator[tuple[Link, Path]]:
        """The links of this pass, each with where its video goes."""
        with path.open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                link = _read_link(line)
                target = self._directory / self._names.name(link.custom_id)
                if self._again is None or link.custom_id in self._again:
                    yield link, target

    def again(self) -> bool:
        """Whether another pass is needed, which this begins."""
        self._again, self._stale = self._stale, set()
        return bool(self._again)

    def save(self, link: Link, target: Path) -> Steps[None]:
        """One video. What is wrong with it alone is kept in `failed`; a disk that is full ends everything."""
        try:
            saved = yield from self._saved(link, target)
        except ApiError as error:
            self._failed(link, error, stale=error.status in (401, 403))
        except (ChecksumMismatch, ConnectionFailed) as error:
            self._failed(link, error, stale=False)
        else:
            self._there(link, target, saved=saved)

    def _saved(self, link: Link, target: Path) -> Steps[bool]:
        if (yield from run(lambda: _is(target, link))):
            return False
        yield from fetch(Request(method="GET", url=link.url, anonymous=True), target, sha256=link.sha256)
        return True

    def _there(self, link: Link, target: Path, *, saved: bool) -> None:
        with self._lock:
            self._in_a_row = 0
            self.done.failed.pop(link.custom_id, None)
            self.done.saved += saved
            self.done.present += not saved
            self.done.bytes += link.size
            if self._on_file is not None:
                self._on_file(link.custom_id, target)

    def _failed(self, link: Link, error: CogmillError, *, stale: bool) -> None:
        with self._lock:
            self.done.failed[link.custom_id] = str(error)
            if stale:
                self._stale.add(link.custom_id)
                return
            self._in_a_row += 1
            if self._in_a_row > 4 * self.workers:
                raise error  # not the row's fault: the other hundred thousand would fare no better


def download(
    driver: Driver,
    campaign_id: str,
    directory: Path,
    *,
    pattern: str,
    workers: int,
    on_file: Callable[[str, Path], object] | None,
) -> Downloaded:
    """With threads."""
    work = _Work(campaign_id, directory, pattern, workers, on_file)
    with _list() as path:
        for _ in range(_PASSES):
            driver.run(work.links(path))
            with ThreadPoolExecutor(workers) as pool:
                pending: set[Future[None]] = set()
                try:
                    for link, target in work.todo(path):
                        pending.add(pool.submit(driver.run, work.save(link, target)))
                        if len(pending) >= 2 * workers:
                            pending = _settled(pending)
                    while pending:
                        pending = _settled(pending)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            if not work.again():
                break
    return work.done


async def download_async(
    driver: AsyncDriver,
    campaign_id: str,
    directory: Path,
    *,
    pattern: str,
    workers: int,
    on_file: Callable[[str, Path], object] | None,
) -> Downloaded:
    """With tasks."""
    work = _Work(campaign_id, directory, pattern, workers, on_file)
    with _list() as path:
        for _ in range(_PASSES):
            await driver.run(work.links(path))
            todo = work.todo(path)

            async def go_on(todo: Iterator[tuple[Link, Path]] = todo) -> None:
                for link, target in todo:
                    await driver.run(work.save(link, target))

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(go_on())
            except* Exception as group_error:
                raise _first(group_error) from None
            if not work.again():
                break
    return work.done


def _is(target: Path, link: Link) -> bool:
    return target.is_file() and target.stat().st_size == link.size and sha256_of(target) == link.sha256


def _settled(pending: set[Future[None]]) -> set[Future[None]]:
    done, left = wait(pending, return_when=FIRST_COMPLETED)
    for each in done:
        each.result()
    return left


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


@contextmanager
def _list() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cogmill-links-") as directory:
        yield Path(directory) / "links.jsonl"
