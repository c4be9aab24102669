"""Models of true size with random weights, on this machine: are they loaded, in how much memory, and do they render?

    make rehearse [MODELS="cogvideox-2b cogvideox-1.5-5b-i2v"] [REHEARSE="--keep --directory /var/tmp"]
    python tests/benchmarks/rehearse.py [--draft] [--small] [--keep] [--directory DIR] [MODEL ...]

For each model: counts what it takes on disk and in memory and says what is missing, writes it in the layout of the Hub,
serves it with `cogmill up --models`, renders the fewest frames of its smallest size in two steps, prints seconds,
memory and disk, and removes everything. On a CPU the decode takes hours at 720x480; `--draft` renders at the smaller
size of that profile. `--small` rehearses the rehearsal itself, with tiny weights.
"""

from __future__ import annotations

import argparse
import base64
import io
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.errors import ConfigError
from tests.support.published import PUBLISHED, Published
from tests.support.published_files import TRUE, Sizes, shapes_of, small, write
from tests.support.stack import Up
from workers.cogvideox import hostmemory, loading, room, weights

USUAL = ("cogvideox-2b", "cogvideox-1.5-5b-i2v")
STEPS = 2
WITHIN_S = 4 * 3600
# A step takes minutes here, which a worker with a GPU would not be forgiven.
PATIENT = {"COGMILL_WATCHDOG__FLOOR_S": str(WITHIN_S), "COGMILL_FINISH__PREVIEW_AT": "0"}
GIB = 2**30
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(slots=True)
class Seen:
    """Of the worker's process: its peak in bytes, and seconds from the stack's start to the render's."""

    peak: int = 0
    began_after_s: float | None = None


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack ends, and what was written goes
    os.environ.update(PATIENT)
    failed = [name for name in options.models if not rehearsed(name, options)]
    sys.exit(f"not rehearsed: {', '.join(failed)}" if failed else 0)


def rehearsed(name: str, options: argparse.Namespace) -> bool:
    """Rehearse one model and print what was seen; False when it could not be, which is said."""
    published, family = PUBLISHED[name], FAMILIES[name]
    sizes = small(published, family) if options.small else TRUE
    parts = counted(published, sizes)
    disk = sum(part.on_disk for part in parts)
    print(f"{name}: {disk / 1e9:.1f} GB of weights to write, below {options.directory}", flush=True)
    if lacking := what_is_missing(family, parts, disk, sizes, options.directory):
        print(f"{name}: {lacking}", flush=True)
        return False
    with _directory(options.directory, options.keep) as directory:
        started = time.monotonic()
        path = write(published, directory / name, sizes)
        print(f"{name}: written in {time.monotonic() - started:.0f} s", flush=True)
        return served(family, path, directory, "draft" if options.draft else "exact")


def counted(published: Published, sizes: Sizes) -> list[weights.Weights]:
    """What its parts will weigh, as the headers of their files will say."""
    found = []
    for part in loading.PARTS:
        shapes = shapes_of(part, published, sizes)
        how = published.weights[part]
        numbers = sum(map(math.prod, shapes.values()))
        on_disk = numbers * _BYTES[how.dtype]
        found.append(
            weights.Weights(
                part=part,
                numbers=numbers,
                wide=0,  # float16 is for GPUs, and then for `auto` alone
                on_disk=on_disk,
                largest_file=math.ceil(on_disk * max(how.shards)),
                in_dtype=how.dtype,
            )
        )
    return found


def what_is_missing(
    family: ModelFamily, parts: list[weights.Weights], disk: int, sizes: Sizes, directory: Path
) -> str | None:
    """In one line, what this machine lacks for it; None when it has it all. The worker would say the same of memory."""
    lacking = []
    free = shutil.disk_usage(directory).free
    if disk > free:
        lacking.append(f"{directory} has {free / 1e9:.1f} GB free: --directory names another place")
    device = loading.device_here()
    has = room.Room(host=hostmemory.read(), device=loading.free_on(device))
    try:
        chosen = room.choose("auto", family, parts, has, channels=sizes.vae.get("block_out_channels", [128])[0])
    except ConfigError as error:
        return "; ".join([str(error), *lacking])
    if lacking:
        return lacking[0]
    print(f"{family.name}: will be loaded in {chosen.dtype}", flush=True)
    if chosen.instead_of is not None:
        print(f"{family.name}: {chosen.instead_of}", flush=True)
    return None


def served(family: ModelFamily, path: Path, directory: Path, profile: str) -> bool:
    """Serve the checkpoint, render with it, and print what was seen."""
    toml = directory / "models.toml"
    licence = "accept_licence = true\n" if family.must_accept_licence else ""
    toml.write_text(
        f'default_model = "model"\n[models.model]\nfamily = "{family.name}"\nsource = "{path}"\n{licence}'
        '[pools.main]\nmodel = "model"\n'
    )
    started = time.monotonic()
    running = Up.start(directory / "stack", "--port", "0", "--models", str(toml))
    seen = Seen()
    try:
        video = rendered(running, family, profile, started, seen)
    finally:
        running.end()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    load = "never" if seen.began_after_s is None else f"{seen.began_after_s:.1f} s after the stack's start"
    print(
        f"{family.name}: the worker had loaded it {load}; host peak {seen.peak / GIB:.1f} GiB; disk {size / 1e9:.1f} GB"
    )
    print(f"{family.name}: {video['status']}, {time.monotonic() - started:.0f} s in all: {_told(video)}", flush=True)
    return bool(video["status"] == "completed")


def rendered(running: Up, family: ModelFamily, profile: str, started: float, seen: Seen) -> dict[str, Any]:
    """The video at its end, or as it waits for a worker that cannot load; `seen` is filled meanwhile."""
    width, height = min(family.sizes, key=lambda size: size[0] * size[1])
    body: dict[str, Any] = {
        "prompt": "a watermill turning at dawn",
        "size": f"{width}x{height}",
        "num_frames": family.min_frames,
        "num_inference_steps": STEPS,
        "profile": profile,
        "seed": 7,
    }
    if family.image_to_video:
        body["input_reference"] = {"image_url": _picture(width, height)}
    stage = None
    with running.client() as client:
        video: dict[str, Any] = client.post("/v1/videos", json=body).raise_for_status().json()
        while time.monotonic() - started < WITHIN_S:
            seen.peak = max(seen.peak, *_peaks(running), 0)
            video = client.get(f"/v1/videos/{video['id']}").raise_for_status().json()
            if video["status"] != "queued" and seen.began_after_s is None:
                seen.began_after_s = time.monotonic() - started
            if (now := (video["status"], video.get("stage"), video.get("progress"))) != stage:
                stage = now
                words = " ".join(str(word) for word in now if word)
                print(f"  {time.monotonic() - started:7.1f} s {seen.peak / GIB:5.1f} GiB {words}", flush=True)
            if video["status"] in ("completed", "failed") or " has loaded " in (video.get("queue_reason") or ""):
                return video
            time.sleep(1)
    return video


def _peaks(running: Up) -> Iterator[int]:
    """The most memory that each of the stack's workers has held so far (`VmHWM` of proc(5)), in bytes."""
    try:
        family = running.family()
    except psutil.Error:  # one of them has ended meanwhile
        return
    for process in family:
        with suppress(psutil.Error, OSError, StopIteration):
            if "RenderActor" in " ".join(process.cmdline()):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                yield 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def _told(video: dict[str, Any]) -> str:
    said = {name: video.get(name) for name in ("error", "queue_reason", "incidents") if video.get(name)}
    return str(said or "nothing befell it")


def _picture(width: int, height: int) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


@contextmanager
def _directory(parent: Path, keep: bool) -> Iterator[Path]:
    """A directory where PostgreSQL's unprivileged user may go; removed, however it ends, unless it is kept."""
    directory = Path(tempfile.mkdtemp(prefix="cogmill-rehearsal-", dir=parent))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        if keep:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(PUBLISHED)}")
    parser.add_argument("--draft", action="store_true", help="render at the smaller size of the profile draft")
    parser.add_argument("--small", action="store_true", help="tiny weights: rehearse the rehearsal itself")
    parser.add_argument("--keep", action="store_true", help="leave what was written, and say where")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="where to write")
    options = parser.parse_args()
    options.models = options.models or list(USUAL)
    if unknown := sorted(set(options.models) - PUBLISHED.keys()):
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(PUBLISHED)}")
    return options


if __name__ == "__main__":
    main()
