"""`make images-check`: builds both images here, without an engine's daemon, and tries them with a read-only root.

Needs Debian, root, buildah and debootstrap (`apt-get install buildah debootstrap`), and about ten minutes. The base is
made of Debian's own packages, so what is built is a check and no release. The worker is the one without CUDA, unless
--lock=worker; CPU_WHEELS names an index of torch's CPU wheels where pip is not set up to find them.
"""

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from images import MB, Engine, Refused, bill, build_both, ended, measured, say

SUITE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"
MOMENT = 1767225600
# What each image must be able to import: what its processes do at their start, and what they put off until later.
IMPORTS = {
    "cogmill": "orchestrator.cli, api.serving, workers.cluster, redis, pyarrow.parquet, cogmill_client, pillow_heif, "
    "orchestrator.telemetry.otlp",
    "cogmill-worker": "workers.assembly, torch, diffusers, transformers, peft, av, c2pa, sentencepiece",
}
# In namespaces of its own: processes, mounts, and a network with a loopback only. $1 is the image's root.
CONFINE = """
set -e
ip link set lo up
mount --bind "$1" "$1"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t tmpfs -o uid=10001,gid=10001 tmpfs "$1/home/cogmill"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
for each in null zero random urandom; do touch "$1/dev/$each"; mount --bind "/dev/$each" "$1/dev/$each"; done
mkdir -m 1777 "$1/dev/shm"; mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
mount -o remount,ro,bind "$1"
root=$1; shift
exec chroot --userspec=10001:10001 "$root" /usr/bin/env -i \
  PATH=/opt/cogmill/bin:/usr/bin:/bin HOME=/home/cogmill PYTHONDONTWRITEBYTECODE=1 sh -ec "$*"
"""
TRIES = {
    "cogmill": "! touch /probe 2>/dev/null; cd; cogmill --version; python3 -c 'import {imports}';"
    " ray start --head --num-cpus=0 --include-dashboard=false --disable-usage-stats --object-store-memory=80000000"
    " >/dev/null; ray health-check --address 127.0.0.1:6379",
    "cogmill-worker": "! touch /probe 2>/dev/null; cd; python3 -c 'import {imports}'; cogmill model tiny tiny;"
    " ray --version",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", default="worker-cpu", choices=("worker", "worker-cpu"))
    parser.add_argument("--twice", action="store_true", help="build the control plane again and compare all files")
    parser.add_argument("--work", type=Path, help="a folder that keeps the base for the next time")
    arguments = parser.parse_args()
    if os.geteuid() or not all(map(shutil.which, ("buildah", "debootstrap", "unshare", "ip"))):
        return ended(Refused("needs root, and of Debian: buildah debootstrap iproute2"), "images-check")
    try:
        with tempfile.TemporaryDirectory(prefix="cogmill-images-") as passing:
            check(arguments.work or Path(passing), arguments.lock, arguments.twice)
    except Refused as error:
        return ended(error, "images-check")
    return 0


def check(work: Path, lock: str, twice: bool) -> None:
    """Build, measure and try both images; raise `Refused` at the first thing that is wrong."""
    options = (f"--root={work / 'storage'}", f"--runroot={work / 'run'}", "--storage-driver=vfs")
    mounts = tuple(f"--volume={path}:{path}:ro" for path in pip_paths())
    engine = Engine("buildah", options, ("--pull-never", *mounts))
    lap = laps()
    next(lap)
    make_base(engine, work)
    say(f"base: {next(lap):.0f} s")
    control = {"PYTHON_IMAGE": "localhost/cogmill-check-base"}
    extra = {"EXTRA_INDEX": os.environ["CPU_WHEELS"]} if os.environ.get("CPU_WHEELS") else {}
    build_both(engine, "check", MOMENT, control, {"LOCK": lock, **extra})
    say(f"both images: {next(lap):.0f} s")
    for name in ("cogmill", "cogmill-worker"):
        tag = f"{name}:check"
        size = measured(engine, tag, name if lock == "worker" or name == "cogmill" else f"{name}-cpu")
        found = bill(engine, tag, name, MOMENT)
        if "pkg:pypi/ray@" not in found or "pkg:deb/" not in found:
            raise Refused(f"the SBOM of {tag} lacks packages")
        said = try_out(engine, tag, TRIES[name].format(imports=IMPORTS[name]))
        say(f"{tag}: {size / MB:.0f} MB, {found.count('purl')} packages, runs with a read-only root: {said}")
        say(f"tried: {next(lap):.0f} s")
    if twice:
        engine.build("deploy/control-plane.Dockerfile", "cogmill:again", control, MOMENT)
        compare(engine, "cogmill:check", "cogmill:again")
        say(f"the same files a second time: {next(lap):.0f} s")


def make_base(engine: Engine, work: Path) -> None:
    """A base image of Debian's Python, under a name that no registry has."""
    root = work / "base"
    if not root.exists():
        made = work / "unfinished"
        shutil.rmtree(made, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, made]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Refused(f"debootstrap: {done.stdout[-500:]}")
        for marker in made.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        made.rename(root)
    container = engine.call("from", "scratch", given="").strip()
    engine.call("add", "--quiet", container, str(root), "/", given="")
    engine.call("commit", "--quiet", "--rm", container, "cogmill-check-base", given="")


def pip_paths() -> list[Path]:
    """What pip here reads from this machine: its own settings, certificates and folders of packages."""
    pip = [sys.executable, "-m", "pip", "config"]
    told = [subprocess.run([*pip, verb], capture_output=True, text=True).stdout for verb in ("debug", "list")]
    files = re.findall(r"^\s*(/\S+), exists: True$", told[0], re.MULTILINE)
    values = re.findall(r"(?:file://|(?<![\w/:.]))(/[^\s'\"/]+/[^\s'\"]+)", told[1])
    found = {path.parent if path.suffix == ".crt" else path for path in map(Path, [*files, *values]) if path.exists()}
    # Of a folder that lies in another one that is mounted, the outer does; an index names files beside its pages.
    folders = {path.parent if path.name == "simple" else path for path in found}
    return sorted(path for path in folders if not any(other in path.parents for other in folders))


def try_out(engine: Engine, tag: str, script: str) -> str:
    """Run a script in the image as it would run in a pod: its user, a read-only root, no network. Its output."""
    container = engine.call("from", "--pull-never", tag, given="").strip()
    try:
        root = engine.call("mount", container, given="").strip()
        # The mounts end with their namespace, and with the first process of it all others.
        isolated = [
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            CONFINE,
            "sh",
        ]
        done = subprocess.run([*isolated, root, script], capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise Refused(f"{tag} with a read-only root: {script}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
        return " ".join(done.stdout.split())[:200]
    finally:
        engine.call("rm", container, given="")


def compare(engine: Engine, one: str, other: str) -> None:
    """Raise `Refused` where two images hold different files, by name, kind, mode or content."""
    containers = [engine.call("from", "--pull-never", tag, given="").strip() for tag in (one, other)]
    try:
        left, right = (Path(engine.call("mount", each, given="").strip()) for each in containers)
        unlike = sorted(differing(left, right))
        if unlike:
            raise Refused(f"{one} and {other} differ in {len(unlike)} files: {', '.join(unlike[:10])}")
    finally:
        for each in containers:
            engine.call("rm", each, given="")


def differing(left: Path, right: Path) -> Iterator[str]:
    """Paths that are not the same in two trees."""
    names = {str(path.relative_to(root)) for root in (left, right) for path in root.rglob("*")}
    for name in names:
        one, other = left / name, right / name
        if not (os.path.lexists(one) and os.path.lexists(other)) or one.lstat().st_mode != other.lstat().st_mode:
            yield name
        elif one.is_symlink():
            if one.readlink() != other.readlink():
                yield name
        elif one.is_file() and not filecmp.cmp(one, other, shallow=False):
            yield name


def laps() -> Iterator[float]:
    """Seconds since the one before; the first since the call."""
    began = time.monotonic()
    while True:
        now = time.monotonic()
        yield now - began
        began = now


if __name__ == "__main__":
    raise SystemExit(main())
