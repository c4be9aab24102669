"""In CI nothing is skipped: what is skipped elsewhere fails there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SKIPPING = """
import pytest

def test_in_its_body():
    pytest.skip("no such tool")

@pytest.mark.skipif(True, reason="no such machine")
def test_by_its_mark():
    pass

def test_with_what_lies_beside_the_repository():
    pytest.skip("../shared/validate.py is not there")

@pytest.mark.xfail(reason="known")
def test_that_is_expected_to_fail():
    assert False
"""


def run_pytest(folder: Path, no_skip: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_skipping.py").write_text(SKIPPING)
    (folder / "test_whole_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.noskip", "-q", "--continue-on-collection-errors", folder],
        cwd=folder,
        env=os.environ | {"COGMILL_NO_SKIP": no_skip, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_a_skip_fails_where_skipping_is_forbidden(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, no_skip="1")

    assert run.returncode != 0
    assert "no such tool" in run.stdout
    assert "no such machine" in run.stdout
    assert run.stdout.splitlines()[-1].startswith("1 failed, 1 skipped, 1 xfailed, 2 errors")


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, no_skip="")

    assert run.returncode == 0
    assert run.stdout.splitlines()[-1].startswith("4 skipped, 1 xfailed")
