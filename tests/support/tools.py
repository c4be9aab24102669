"""Programs that some tests need and pip does not bring: found on PATH or in the folder that .ci/run fills."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cogmill-tools"
# Packages that only some tests use, and that slow the start of every process that finds them.
EXTRA = Path(sys.prefix) / "extra"
# pip-audit and what comes with it.
AUDITOR = Path(sys.prefix) / "audit"
SHARED = Path(__file__).parents[2].parent / "shared"


def need(program: str, *others: str) -> Path:
    """The path of the first of these programs that is there; skips the test, by name, where none is installed."""
    for name in (program, *others):
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{CACHE}")
        if found is not None:
            return Path(found)
    pytest.skip(f"{program} is not installed (.ci/run installs it)")


def need_chromium() -> Path:
    """Its headless shell where there is one: the same engine for less CPU time, as it draws no window."""
    return need("chromium-headless-shell", "chromium")


def need_auditor() -> Path:
    """The folder that has pip-audit; skips the test where `make audit` has not made it."""
    if not (AUDITOR / "pip_audit").is_dir():
        pytest.skip("pip-audit is not installed (make audit installs it)")
    return AUDITOR


def need_shared(name: str) -> Path:
    """A file of the folder beside the repository; skips the test where that is not there."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"../shared/{name} is not there")
    return path
