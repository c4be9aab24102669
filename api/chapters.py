"""What the API reference says beside its routes: how to begin, what each group is for, and examples that run.

`pages/chapters/` has a file for each group: its first paragraph is its description, and what is below the heading of a
route belongs to that route. `tests/contract/api/test_reference_examples.py` runs every example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "pages" / "chapters"
# As the reference shows them: what one begins with comes first.
ORDER = (
    "openai", "bigmodel", "native", "videos", "jobs", "campaigns", "reviews", "webhooks", "usage", "overview", "keys",
    "operators", "administration", "operations",
)  # fmt: skip
_BEGINNING = "beginning"
# Stands before the examples of a route.
MARK = "**Examples**"
_HEADING = re.compile(r"^## (?=[A-Z]+ /)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Chapter:
    """`examples` are Markdown, by the method and the path of the route that they show."""

    description: str
    examples: Mapping[tuple[str, str], str]


@cache
def chapters() -> Mapping[str, Chapter]:
    """Every chapter by the tag of its routes."""
    return {tag: _read((_FOLDER / f"{tag}.md").read_text()) for tag in ORDER}


def _read(text: str) -> Chapter:
    description, *sections = _HEADING.split(text)
    examples: dict[tuple[str, str], str] = {}
    for section in sections:
        heading, _, body = section.partition("\n")
        method, path = heading.split()
        examples[method, path] = body.strip()
    return Chapter(description.strip(), examples)


def told(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document with all of that in its descriptions."""
    document["info"]["description"] = (_FOLDER / f"{_BEGINNING}.md").read_text()
    document["tags"] = [{"name": tag, "description": each.description} for tag, each in chapters().items()]
    for chapter in chapters().values():
        for (method, path), example in chapter.examples.items():
            # A part of the routes may be served elsewhere, as the metrics are.
            if (operation := document["paths"].get(path, {}).get(method.lower())) is not None:
                operation["description"] += f"\n\n{MARK}\n\n{example}"
    return document
