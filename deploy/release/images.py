"""The two images and how an engine builds and asks them: docker, podman, or buildah, which needs no daemon."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENGINES = ("docker", "podman", "buildah")

# Bytes of files of the whole image as a container sees them; what is more fails. Measured: OPERATIONS.md, The images.
MB = 1_000_000
BUDGETS = {"cogmill": 900 * MB, "cogmill-worker": 9_000 * MB, "cogmill-worker-cpu": 2_600 * MB}

# Walks the image's own file system, each file once; what the image's user may not read is little and not counted.
MEASURE = """
import os
root, seen, total = os.lstat("/").st_dev, set(), 0
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == root]
    for name in files:
        found = os.lstat(os.path.join(folder, name))
        if found.st_dev == root and found.st_ino not in seen:
            seen.add(found.st_ino)
            total += found.st_size
print(total)
"""


class Refused(Exception):
    """Nothing can be made as things are; the message says why and what to do."""


def version() -> str:
    """The version that is released. Raises `Refused` where the places that say it differ."""
    said = {}
    for place in ("pyproject.toml", "api/client/pyproject.toml"):
        said[place] = tomllib.loads((ROOT / place).read_text())["project"]["version"]
    chart = (ROOT / "helm/cogmill/Chart.yaml").read_text()
    for key in ("version", "appVersion"):
        [said[f"helm/cogmill/Chart.yaml, {key}"]] = re.findall(rf'^{key}: "?([^"\s]+)"?$', chart, re.MULTILINE)
    if len(set(said.values())) > 1:
        raise Refused("the versions differ: " + "; ".join(f"{place} says {text}" for place, text in said.items()))
    return said["pyproject.toml"]


@dataclass(frozen=True)
class Engine:
    """One program that builds images, with options that every call of it gets and those that builds get."""

    program: str
    options: Sequence[str] = ()
    build_options: Sequence[str] = field(default=())

    @classmethod
    def find(cls, wanted: str = "") -> "Engine":
        """The engine named, or the first at hand. Raises `Refused`."""
        for name in (wanted,) if wanted else ENGINES:
            if Path(name).name not in ENGINES:
                raise Refused(f"ENGINE is {wanted}; it must be one of {', '.join(ENGINES)}")
            if shutil.which(name):
                return cls(name)
        raise Refused(f"{wanted or 'none of ' + ', '.join(ENGINES)} is installed; ENGINE names one that is")

    @property
    def daemonless(self) -> bool:
        return Path(self.program).name == "buildah"

    def build(self, dockerfile: str, tag: str, arguments: Mapping[str, str], moment: int) -> None:
        """Build one image of the working tree; its output goes to this process's own."""
        words = [f"--build-arg={name}={value}" for name, value in {**arguments, "SOURCE_DATE_EPOCH": moment}.items()]
        if self.daemonless:
            words += ["--isolation=chroot", "--format=docker", f"--timestamp={moment}"]
        elif Path(self.program).name == "podman":
            words += ["--format=docker", f"--timestamp={moment}"]
        verb = "bud" if self.daemonless else "build"
        self.call(verb, *self.build_options, *words, f"--file={dockerfile}", f"--tag={tag}", str(ROOT))

    def run(self, tag: str, *command: str, given: str = "") -> str:
        """What a command prints in a container of the image, as the image's user and without a network."""
        if not self.daemonless:
            rest = ("--rm", "--interactive", "--network=none", f"--entrypoint={command[0]}", tag, *command[1:])
            return self.call("run", *rest, given=given)
        container = self.call("from", "--pull-never", tag, given="").strip()
        try:
            return self.call("run", "--isolation=chroot", container, "--", *command, given=given)
        finally:
            self.call("rm", container, given="")

    def identity(self, tag: str) -> str:
        """The image's own digest."""
        kind = ("inspect", "--type=image", "--format={{.FromImageID}}") if self.daemonless else ("image", "inspect")
        return self.call(*kind, *(() if self.daemonless else ("--format={{.Id}}",)), tag, given="").strip()

    def call(self, *words: str, given: str | None = None) -> str:
        """Run the engine. With `given`, feed it that and return what it prints; else let it print. Raises `Refused`."""
        command = [self.program, *self.options, *words]
        done = subprocess.run(command, input=given, stdout=None if given is None else subprocess.PIPE, text=True)
        if done.returncode:
            raise Refused(f"{' '.join(command[:3])} ... ended with {done.returncode}")
        return done.stdout or ""


def build_both(engine: Engine, suffix: str, moment: int, control: Mapping[str, str], worker: Mapping[str, str]) -> None:
    """Build the control plane's image and the worker's on it, tagged `suffix`."""
    engine.build("deploy/control-plane.Dockerfile", f"cogmill:{suffix}", control, moment)
    base = f"{'localhost/' if engine.daemonless else ''}cogmill:{suffix}"
    engine.build("deploy/worker.Dockerfile", f"cogmill-worker:{suffix}", {**worker, "BASE": base}, moment)


def measured(engine: Engine, tag: str, budget: str) -> int:
    """Bytes of the image's files. Raises `Refused` above its budget."""
    size = int(engine.run(tag, "python3", "-c", MEASURE))
    if size > BUDGETS[budget]:
        raise Refused(f"{tag} has {size / MB:.0f} MB and may have {BUDGETS[budget] / MB:.0f} (BUDGETS in images.py)")
    return size


def bill(engine: Engine, tag: str, name: str, moment: int) -> str:
    """The image's SBOM, as JSON."""
    script = (HERE / "sbom.py").read_text()
    return engine.run(tag, "python3", "-", name, tag.partition(":")[2], str(moment), given=script)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def ended(error: Refused, name: str) -> int:
    """Tell why and fail."""
    sys.stderr.write(f"{name}: {error}\n")
    return 1
