"""The folders of the orchestrator: each has its layer, says what it imports; the domain needs nothing."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.sources import ROOT, imports

ORCHESTRATOR = ROOT / "orchestrator"
FOLDERS = sorted(path.parent.name for path in ORCHESTRATOR.glob("*/__init__.py"))


def test_every_folder_has_its_layer_and_nothing_but_the_command_line_stands_beside_them() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (contract for contract in linter["contracts"] if contract["type"] == "layers")
    assert layers["exhaustive"]
    named = sorted(name for layer in layers["layers"] for name in layer.split(" | "))
    assert named == sorted([*FOLDERS, "cli"])
    assert sorted(path.name for path in ORCHESTRATOR.glob("*.py")) == ["__init__.py", "cli.py"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_in_a_sentence_what_lives_there_and_then_what_it_imports(folder: str) -> None:
    text = importlib.import_module(f"orchestrator.{folder}").__doc__ or ""
    first = text.splitlines()[0]
    assert first.endswith("."), "the first line is a sentence"
    found = {name for path in (ORCHESTRATOR / folder).rglob("*.py") for name in _folders_imported(path)} - {folder}
    said = re.search(r"^Imports (.+?)\.$", text, re.MULTILINE | re.DOTALL)
    assert said is not None, "no line says `Imports ...`"
    named = set() if said[1] == "nothing of ours" else set(re.split(r",\s+", said[1]))
    assert named == found


def _folders_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("orchestrator.")}


@pytest.mark.parametrize("path", sorted((ORCHESTRATOR / "domain").rglob("*.py")), ids=lambda path: path.stem)
def test_the_domain_imports_the_standard_library_and_itself(path: Path) -> None:
    outside = {name for name in imports(path) if name.split(".")[0] not in sys.stdlib_module_names}
    assert all(name.startswith("orchestrator.domain") for name in outside), outside


@pytest.mark.parametrize("module", sorted((ORCHESTRATOR / "policy").glob("*.py")), ids=lambda path: path.stem)
def test_the_policy_imports_the_standard_library_the_domain_and_itself(module: Path) -> None:
    outside = {name for name in imports(module) if name.split(".")[0] not in sys.stdlib_module_names}
    assert all(name.startswith(("orchestrator.domain", "orchestrator.policy")) for name in outside), outside


@pytest.mark.parametrize("package", ["api", "orchestrator", "workers"])
def test_every_file_begins_with_its_one_job(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*.py")
        if path.read_text() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent
