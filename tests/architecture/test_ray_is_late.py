"""No test imports Ray while tests are collected: it reads its token and network then, before a head has set them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_IMPORT_ALL = """
import importlib, sys
for path in sorted(sys.stdin.read().split()):
    importlib.import_module(path)
    if "ray" in sys.modules:
        sys.exit(path)
"""


def test_no_module_of_tests_imports_ray() -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "tests").rglob("test_*.py")]
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL], input="\n".join(modules), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"imports Ray, or cannot be imported: {done.stderr[-500:]}"
