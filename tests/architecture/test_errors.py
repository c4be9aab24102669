"""The error tree: its map at the head of the file is the tree, and nothing raised on purpose stands outside of it."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

from orchestrator.domain import errors
from orchestrator.domain.errors import CogmillError
from tests.support.sources import ROOT, trees

_BRANCH = re.compile(r"^(?P<depth>[│├└─ ]*)(?P<name>[A-Z]\w+)")


def _drawn() -> Iterator[tuple[str, str]]:
    """Each class of the map, and the class that it hangs from."""
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if (found := _BRANCH.match(line)) and hasattr(errors, found["name"]):
            depth = len(found["depth"]) // 4
            path[depth:] = [found["name"]]
            if depth:
                yield found["name"], path[depth - 1]


def test_the_map_of_errors_is_the_tree() -> None:
    defined = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    tree = {
        name: kind.__bases__[0].__name__
        for name, kind in defined.items()
        if issubclass(kind, CogmillError) and kind is not CogmillError
    }
    assert dict(_drawn()) == tree


# Outside of it, for a reason: what each one's own caller catches, and nobody else sees.
ELSEWHERE = {
    "TooDeep": "a ValueError, as every other complaint of `json.loads`",
    "NoAnswer": "the moderation's own: what becomes of it is the setting `on_error`'s to say",
    "NotSatisfiable": "the download's own: 416 has headers and no body",
    "NoVideo": "the demo's own: one line, and exit code 1",
}


def test_whoever_defines_an_error_hangs_it_into_the_tree_or_keeps_it_private() -> None:
    kinds = {**vars(builtins), **vars(errors)}
    raised = {name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseException)}
    strays = {
        node.name: str(path.relative_to(ROOT))
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and path != ROOT / "orchestrator/domain/errors.py"
        and any(isinstance(base, ast.Name) and base.id in raised for base in node.bases)
    }
    assert strays.keys() == ELSEWHERE.keys(), strays
