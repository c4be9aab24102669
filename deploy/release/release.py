"""`make release`: both images, their SBOMs, the chart and checksums of one commit, into dist/VERSION.

Refuses a working tree with changes, versions that differ, a base without a digest, and images above their budgets.
ENGINE names the engine (docker, podman, buildah); BUILD_OPTIONS are more options for its builds. It pushes nothing.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from images import MB, ROOT, Engine, Refused, bill, build_both, ended, measured, say, version

TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cogmill-tools"


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def refuse_changes() -> None:
    """Raise `Refused` where the working tree is not what the commit says."""
    changes = git("status", "--porcelain")
    if changes:
        some = ", ".join(line[3:] for line in changes.splitlines()[:5])
        raise Refused(f"the working tree has changes: {some}; commit them or put them aside (git stash -u)")


def base(options: Sequence[str]) -> str:
    """The image that both are built on, by its digest. Raises `Refused` where it is only named."""
    given = re.findall(r"(?<!\S)(?:--build-arg[= ])PYTHON_IMAGE=(\S+)", " ".join(options))
    default = re.findall(
        r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "deploy/control-plane.Dockerfile").read_text(), re.MULTILINE
    )
    image: str = [*default, *given][-1]
    if not re.search(r"@sha256:[0-9a-f]{64}$", image):
        raise Refused(f"PYTHON_IMAGE is {image}, which names no digest: what it is may change; add its @sha256:...")
    return image


def find_helm() -> str:
    found = shutil.which("helm", path=f"{os.environ.get('PATH', '')}:{TOOLS}")
    if found is None:
        raise Refused("helm is not installed (.ci/run installs one into the cache of tools)")
    return found


def release(engine: Engine, into: Path) -> list[str]:
    """Make everything in `into`, an empty folder; lines that say what was made."""
    refuse_changes()
    number, helm, built_on = version(), find_helm(), base(engine.build_options)
    revision, moment = git("rev-parse", "HEAD"), int(git("log", "-1", "--format=%ct"))
    said = [f"cogmill {number} of commit {revision}", f"base {built_on}"]
    build_both(engine, number, moment, {"REVISION": revision}, {"REVISION": revision})
    rows = []
    for name in ("cogmill", "cogmill-worker"):
        tag = f"{name}:{number}"
        size = measured(engine, tag, name)
        (into / f"{name}-{number}.cdx.json").write_text(bill(engine, tag, name, moment))
        rows.append(f"{tag} {engine.identity(tag)} {size}")
        said.append(f"image {tag}, {size / MB:.0f} MB, {engine.identity(tag)}")
    (into / "images.txt").write_text("".join(f"{row}\n" for row in rows))
    subprocess.run([helm, "package", ROOT / "helm/cogmill", "--destination", into], check=True, capture_output=True)
    made = sorted(into.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (into / "SHA256SUMS").write_text(sums)
    return [*said, *(f"file {path.name}" for path in [*made, into / "SHA256SUMS"])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the folder VERSION is made")
    arguments = parser.parse_args()
    try:
        engine = Engine.find(os.environ.get("ENGINE", ""))
        engine = replace(engine, build_options=shlex.split(os.environ.get("BUILD_OPTIONS", "")))
        target = arguments.out / version()
        if target.exists():
            raise Refused(f"{target} is there already; remove it to make it again")
        arguments.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=arguments.out) as unfinished:
            whole = Path(unfinished) / "whole"
            whole.mkdir()
            lines = release(engine, whole)
            whole.rename(target)
    except Refused as error:
        return ended(error, "release")
    for line in [*lines, f"in {target}; nothing was pushed"]:
        say(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
