"""What a PATCH makes of an object: JSON patches, merge patches, and strategic ones as far as commands send them."""

from __future__ import annotations

import copy
from typing import Any

# A list of objects is merged by their names, as those of containers, variables and volumes are.
_BY = "name"


class TestFailed(Exception):
    """A JSON patch expected another value."""


def patched(known: dict[str, Any], patch: Any, media: str) -> dict[str, Any]:
    """A changed copy. Raises `TestFailed`."""
    match media:
        case "application/json-patch+json":
            return _by_operations(known, patch)
        case "application/merge-patch+json":
            return dict(_merged(known, patch, strategic=False))
        case "application/strategic-merge-patch+json":
            return dict(_merged(known, patch, strategic=True))
    raise AssertionError(media)


def _by_operations(known: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    made = copy.deepcopy(known)
    for operation in operations:
        *parts, last = operation["path"].removeprefix("/").split("/")
        place: Any = made
        for part in parts:
            place = place[int(part)] if isinstance(place, list) else place[part]
        key: Any = int(last) if isinstance(place, list) else last
        if operation["op"] == "test":
            if place[key] != operation["value"]:
                raise TestFailed(f"testing path {operation['path']} failed")
        elif operation["op"] == "remove":
            del place[key]
        else:
            assert operation["op"] in ("add", "replace")
            place[key] = operation["value"]
    return made


def _merged(known: Any, patch: Any, *, strategic: bool) -> Any:
    if isinstance(patch, dict):
        made = dict(known) if isinstance(known, dict) else {}
        for key, value in patch.items():
            if key.startswith("$"):
                continue  # `$setElementOrder`: of lists whose order nothing here looks at
            if value is None:
                made.pop(key, None)
            else:
                made[key] = _merged(made.get(key), value, strategic=strategic)
        return made
    if strategic and isinstance(patch, list) and all(isinstance(each, dict) and _BY in each for each in patch):
        made_list = {each[_BY]: each for each in known or ()}
        for each in patch:
            made_list[each[_BY]] = _merged(made_list.get(each[_BY]), each, strategic=True)
        return list(made_list.values())
    return copy.deepcopy(patch)
