"""Fetching model files while processes die, disks fill and S3 goes away: what is used is whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError, ScratchUnavailable
from tests.support.disks import small_disk
from tests.support.fetching import fetching, write_weights
from tests.support.proxy import Proxy
from tests.support.s3 import S3Server
from workers.modelfiles import Progress, State, locate, look, push
from workers.modelfiles.fetch import place, under_construction
from workers.modelfiles.progress import Doing

MIB = 2**20
SIZE = 6 * MIB
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture
def link(s3_server: S3Server) -> Iterator[Proxy]:
    with Proxy(s3_server.port).running() as proxy:
        yield proxy


@pytest.fixture
def far(link: Proxy, s3_settings: S3Settings) -> S3Settings:
    """The bucket, over a link that can be slow."""
    return s3_settings.model_copy(update={"endpoint_url": link.url})


@pytest.fixture
def source(tmp_path: Path, s3_settings: S3Settings) -> str:
    """A published adapter, six MiB large."""
    write_weights(tmp_path / "adapter" / FILE, SIZE)
    name = f"s3://{s3_settings.bucket}/adapters/oil"
    push(tmp_path / "adapter", name, s3_settings)
    return name


def whole(tmp_path: Path, fetched: Path) -> bool:
    return (fetched / FILE).read_bytes() == (tmp_path / "adapter" / FILE).read_bytes()


def eventually(true: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_fetch_that_is_killed_leaves_nothing_to_be_used_and_the_next_one_goes_on(
    tmp_path: Path, link: Proxy, far: S3Settings, source: str
) -> None:
    cache, link.down_bytes_per_s = tmp_path / "cache", 2 * MIB
    target = place(source, cache, far)
    partial = under_construction(target) / FILE
    fetch = fetching(source, cache, far)
    eventually(lambda: partial.is_file() and partial.stat().st_size > 2 * MIB)
    fetch.kill()
    fetch.communicate()
    assert not target.exists()
    assert look(source, cache, far).state is State.PARTIAL

    had, link.down_bytes_per_s, link.came_down = partial.stat().st_size, None, 0
    assert locate(source, cache, far) == target
    assert whole(tmp_path, target)
    assert link.came_down < SIZE - had + MIB / 2
    assert not partial.parent.exists()


def test_two_processes_that_want_the_same_fetch_it_once(
    tmp_path: Path, link: Proxy, far: S3Settings, source: str
) -> None:
    link.came_down, link.down_bytes_per_s = 0, 3 * MIB
    both = [fetching(source, tmp_path / "cache", far) for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    target = place(source, tmp_path / "cache", far)
    assert [output.splitlines()[-1] for output, _ in ended] == [str(target)] * 2
    assert any(Doing.WAITING in output for output, _ in ended)
    assert whole(tmp_path, target)
    assert link.came_down < 1.2 * SIZE


def test_what_cannot_fit_is_not_begun(tmp_path: Path, link: Proxy, far: S3Settings, source: str) -> None:
    link.came_down = 0
    with small_disk(tmp_path / "disk", 4096):
        with pytest.raises(
            ScratchUnavailable, match=r"models_cache .*disk: s3://.* needs . MiB more, and . MiB are free"
        ):
            locate(source, tmp_path / "disk", far)
        assert [path.suffix for path in (tmp_path / "disk").iterdir()] in ([], [".lock"])
    assert link.came_down < MIB


def test_a_disk_that_fills_meanwhile_is_reported_and_given_back(
    tmp_path: Path, link: Proxy, far: S3Settings, source: str
) -> None:
    cache, link.down_bytes_per_s = tmp_path / "disk", 4 * MIB

    def fill(progress: Progress) -> None:
        link.down_bytes_per_s = None
        try:
            with (cache / "other").open("ab") as other:
                while True:
                    other.write(bytes(65536))
        except OSError:
            pass

    with small_disk(cache, 8192):
        with pytest.raises(ScratchUnavailable, match="No space left"):
            locate(source, cache, far, on_progress=fill)
        assert not under_construction(place(source, cache, far)).exists()
        (cache / "other").unlink()
        assert whole(tmp_path, locate(source, cache, far))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, far: S3Settings, source: str) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ScratchUnavailable, match=r"models_cache .*cache"):
        locate(source, tmp_path / "cache", far)


def test_s3_may_be_away_for_a_while_and_not_for_ever(
    tmp_path: Path, own_s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(own_s3_server.port).running() as link:
        near = own_s3_server.new_bucket(max_attempts=1)
        far = near.model_copy(update={"endpoint_url": link.url})
        source = f"s3://{near.bucket}/adapters/oil"
        write_weights(tmp_path / "adapter" / FILE, SIZE)
        push(tmp_path / "adapter", source, near)
        link.down_bytes_per_s = 4 * MIB
        restarts: list[threading.Thread] = []

        def interrupt(progress: Progress) -> None:
            if not restarts and progress.done > MIB:
                own_s3_server.kill()
                restarts.append(threading.Timer(2.0, own_s3_server.start))
                restarts[0].start()

        assert whole(tmp_path, locate(source, tmp_path / "cache", far, on_progress=interrupt))
        restarts[0].join()
        own_s3_server.kill()
        monkeypatch.setattr("workers.modelfiles.fetch._TRIES", 2)
        with pytest.raises(ConfigError, match=rf"{source} cannot be fetched: S3 does not answer"):
            locate(source, tmp_path / "another", far)
        own_s3_server.start()  # for whoever ends it
