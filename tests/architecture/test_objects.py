"""What lies in S3: its sweepers delete it, and one file knows where it lies."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from orchestrator.domain import objects
from tests.support.sources import ROOT, trees


def test_objects_that_a_row_names_are_deleted_by_the_sweepers_alone() -> None:
    deleting = {
        path.relative_to(ROOT)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            node.attr in ("delete_object", "delete_objects")
            or re.search(r"\bself\.delete\b|objects\.delete$", ast.unparse(node))
        )
    }
    sweepers = {path for path in deleting if path.is_relative_to("orchestrator/objects")}
    assert sweepers
    assert deleting - sweepers == {
        Path("orchestrator/adapters/s3.py"),  # says it to S3, and cleans up after its own check
        Path("orchestrator/intake/pictures.py"),  # an upload of its own, that lost a race and came to no row
    }


def test_no_other_file_spells_a_prefix_of_the_bucket() -> None:
    prefixes = {value for name, value in vars(objects).items() if name.isupper() and isinstance(value, str)}
    assert prefixes
    spelt = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and "\n" not in node.value
        and node.value.startswith(tuple(prefixes))
        and path != ROOT / "orchestrator/domain/objects.py"
    ]
    assert spelt == []
