"""The project's own source, read as syntax trees, for tests of its architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "orchestrator", "workers")
CLIENT = ROOT / "api" / "client"


def trees(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    """Each file of these packages, all by default, and its tree. The client is a distribution of its own."""
    for package in packages or PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.is_relative_to(CLIENT):
                continue
            yield path, ast.parse(path.read_text())


def imports(path: Path) -> set[str]:
    """The modules that a file imports, at its top or anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from orchestrator import logs` names a module, `from orchestrator.domain import x` its folder.
            whole = node.module.count(".") == 0 and node.module in PACKAGES
            found |= {f"{node.module}.{name.name}" for name in node.names} if whole else {node.module}
    return found
