"""`make release` makes what one commit says, tells what it made, and refuses what would not be that."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import jsonschema_rs
import pytest

from tests.support.tools import need, need_auditor

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "deploy" / "release"
# What the script reads of the repository; of the Dockerfiles the name of the base alone.
READS = [
    "deploy/control-plane.Dockerfile",
    "deploy/release",
    "helm",
    "pyproject.toml",
    "api/client/pyproject.toml",
    ".gitignore",
]
# An engine that notes how it is called; `run` really runs the Python that it is given.
ENGINE = """#!/bin/bash
echo "$(basename "$0") $*" >> "$LOG"
case "$1" in
  run) case "$*" in *st_dev*) echo "$SIZE";; *) python=$(command -v python3)
       while [ "$1" != - ]; do shift; done; exec "$python" "$@";; esac;;
  image) echo sha256:0123abc;;
esac
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A commit of what the release reads."""
    root = tmp_path / "repository"
    for name in READS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words], cwd=root, check=True)
    return root


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("docker", "podman"):
        (folder / name).write_text(ENGINE)
        (folder / name).chmod(0o755)
    (folder / "helm").symlink_to(need("helm"))
    return folder


def make_release(repository: Path, tools: Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(repository.parent), "LOG": str(tools / "log")}
    return subprocess.run(
        [sys.executable, "-B", str(repository / "deploy/release/release.py")],
        env={**kept, "SIZE": "500000000", **env},
        capture_output=True,
        text=True,
    )


def test_a_release_has_bills_of_both_images_the_chart_and_sums_of_all(repository: Path, tools: Path) -> None:
    done = make_release(repository, tools)

    assert done.returncode == 0, done.stderr
    made = repository / "dist" / "0.1.0"
    names = {path.name for path in made.iterdir()}
    bills = {"cogmill-0.1.0.cdx.json", "cogmill-worker-0.1.0.cdx.json"}
    assert names == {*bills, "images.txt", "cogmill-0.1.0.tgz", "SHA256SUMS"}
    assert all(f"file {name}" in done.stdout for name in names)
    assert "nothing was pushed" in done.stdout
    sums = dict(reversed(line.split("  ")) for line in (made / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in names - {"SHA256SUMS"}}
    assert (made / "images.txt").read_text() == (
        "cogmill:0.1.0 sha256:0123abc 500000000\ncogmill-worker:0.1.0 sha256:0123abc 500000000\n"
    )
    with tarfile.open(made / "cogmill-0.1.0.tgz") as chart:
        assert "cogmill/values.yaml" in chart.getnames()


def test_both_images_are_built_of_the_commit_and_the_worker_on_the_control_plane(repository: Path, tools: Path) -> None:
    git = ["git", "-C", str(repository)]
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    moment = subprocess.check_output([*git, "log", "-1", "--format=%ct"], text=True).strip()

    make_release(repository, tools, ENGINE="podman", BUILD_OPTIONS="--pull=never --build-arg=PIP_INDEX_URL='a b'")

    control, worker = [line for line in (tools / "log").read_text().splitlines() if line.startswith("podman build")]
    for line in (control, worker):
        assert f"--build-arg=REVISION={commit}" in line
        assert f"--build-arg=SOURCE_DATE_EPOCH={moment}" in line
        assert f"--timestamp={moment}" in line
        assert "--pull=never --build-arg=PIP_INDEX_URL=a b" in line
    assert "--file=deploy/control-plane.Dockerfile --tag=cogmill:0.1.0" in control
    assert "--build-arg=BASE=cogmill:0.1.0" in worker
    assert "--file=deploy/worker.Dockerfile --tag=cogmill-worker:0.1.0" in worker


def test_a_working_tree_with_changes_is_refused_before_anything_is_built(repository: Path, tools: Path) -> None:
    (repository / "forgotten.txt").write_text("")

    done = make_release(repository, tools)

    assert done.returncode == 1
    assert "the working tree has changes: forgotten.txt; commit them" in done.stderr
    assert not (tools / "log").exists()
    assert not list((repository / "dist").iterdir())


def test_versions_that_differ_are_refused_with_their_places(repository: Path, tools: Path) -> None:
    chart = repository / "helm/cogmill/Chart.yaml"
    chart.write_text(re.sub(r"(?m)^appVersion: .*", "appVersion: 0.2.0", chart.read_text()))

    done = make_release(repository, tools)

    assert done.returncode == 1
    assert "helm/cogmill/Chart.yaml, appVersion says 0.2.0" in done.stderr


def test_an_image_above_its_budget_is_refused(repository: Path, tools: Path) -> None:
    done = make_release(repository, tools, SIZE="12345000000")

    assert done.returncode == 1
    assert "cogmill:0.1.0 has 12345 MB and may have " in done.stderr
    assert not (repository / "dist" / "0.1.0").exists()


@pytest.mark.parametrize("image", ["python:3.11-slim", "mirror.example/python@sha256:0123"])
def test_a_base_that_is_not_named_by_its_digest_is_refused(repository: Path, tools: Path, image: str) -> None:
    done = make_release(repository, tools, BUILD_OPTIONS=f"--build-arg PYTHON_IMAGE={image}")

    assert done.returncode == 1
    assert f"PYTHON_IMAGE is {image}, which names no digest" in done.stderr
    assert not (tools / "log").exists()


def test_another_base_is_built_on_by_its_digest(repository: Path, tools: Path) -> None:
    image = f"mirror.example/python@sha256:{'01' * 32}"

    done = make_release(repository, tools, BUILD_OPTIONS=f"--build-arg=PYTHON_IMAGE={image}")

    assert done.returncode == 0, done.stderr
    assert f"base {image}" in done.stdout


def test_a_release_that_is_there_is_not_made_over(repository: Path, tools: Path) -> None:
    (repository / "dist" / "0.1.0").mkdir(parents=True)

    assert "is there already; remove it" in make_release(repository, tools).stderr


@pytest.mark.parametrize(
    ("engine", "told"),
    [("kaniko", "it must be one of docker, podman, buildah"), ("", "none of docker, podman, buildah")],
)
def test_an_engine_that_is_not_there_is_told(
    repository: Path, tools: Path, tmp_path: Path, engine: str, told: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    done = make_release(repository, tools, ENGINE=engine, PATH=str(empty))

    assert done.returncode == 1
    assert told in done.stderr


def test_the_bill_of_what_is_installed_names_packages_versions_and_what_needs_what() -> None:
    command = [sys.executable, "-", "an-image", "1.2.3", "1767225600"]
    runs = [
        subprocess.run(command, input=(RELEASE / "sbom.py").read_text(), capture_output=True, text=True, check=True)
        for _ in range(2)
    ]

    assert runs[0].stdout == runs[1].stdout
    bill = json.loads(runs[0].stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["timestamp"] == "2026-01-01T00:00:00Z"
    assert bill["metadata"]["component"]["name"] == "an-image"
    parts = {each["bom-ref"]: each for each in bill["components"]}
    assert len(parts) == len(bill["components"])
    (fastapi,) = [each for each in parts.values() if each["name"] == "fastapi"]
    assert fastapi["purl"] == f"pkg:pypi/fastapi@{fastapi['version']}"
    assert fastapi["licenses"] == [{"expression": "MIT"}]
    (edges,) = [each["dependsOn"] for each in bill["dependencies"] if each["ref"] == fastapi["bom-ref"]]
    assert any(each.startswith("pkg:pypi/starlette@") for each in edges)
    assert all(ref in parts for each in bill["dependencies"] for ref in each["dependsOn"])


def test_a_bill_is_valid_by_the_schema_of_its_kind() -> None:
    """By CycloneDX's own schema, as its library carries it."""
    schemas = need_auditor() / "cyclonedx" / "schema" / "_res"
    read = {path.name: json.loads(path.read_text()) for path in schemas.glob("*.SNAPSHOT.schema.json")}
    beside = [(f"http://cyclonedx.org/schema/{name}", each) for name, each in read.items()]
    known = jsonschema_rs.Registry(beside, draft=jsonschema_rs.Draft7)
    command = [sys.executable, "-", "an-image", "1.2.3", "1767225600"]
    told = subprocess.check_output(command, input=(RELEASE / "sbom.py").read_text(), text=True)
    checker = jsonschema_rs.Draft7Validator(read["bom-1.6.SNAPSHOT.schema.json"], registry=known)

    bill = json.loads(told)
    assert [error.message for error in checker.iter_errors(bill)] == []
    bill["components"][0]["licenses"] = [{"expression": 1}]
    assert not checker.is_valid(bill)


def test_two_builds_are_compared_file_by_file(tmp_path: Path) -> None:
    """What `make images-check CHECK=--twice` does with the trees of two images."""
    trees = [tmp_path / "one", tmp_path / "other"]
    for number, tree in enumerate(trees):
        tree.mkdir()
        for name in ("same", "content", "mode"):
            (tree / name).write_text("text")
            os.utime(tree / name, (number, number))
        (tree / "link").symlink_to("same" if number else "mode")
    (trees[0] / "content").write_text("next")
    (trees[0] / "mode").chmod(0o755)
    (trees[1] / "added").mkdir()

    program = "import sys, check, pathlib; print(*sorted(check.differing(*map(pathlib.Path, sys.argv[1:]))))"
    told = subprocess.check_output([sys.executable, "-B", "-c", program, *trees], cwd=RELEASE, text=True)

    assert told.split() == ["added", "content", "link", "mode"]
