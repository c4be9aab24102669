"""The API reference as Markdown, for language models: `llms.txt` (llmstxt.org), a file for each group, and all in one.

It is written from the OpenAPI document, so that it is as true as that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from api import chapters

SUMMARY = (
    "Renders video with CogVideoX. The API speaks three dialects: OpenAI's Videos API, that of bigmodel.cn, and its "
    "own for campaigns, jobs, reviews and operation."
)
_FULL = "llms-full.txt"


def texts(document: Mapping[str, Any], base: str) -> Mapping[str, str]:
    """Every text by its path below `base`."""
    groups = {tag: _group(document, tag) for tag in _described(document)}
    full = "\n".join([f"# Cogmill\n\n> {SUMMARY}\n", document["info"]["description"], *groups.values()])
    return {
        "/llms.txt": _index(document, base),
        f"/docs/{_FULL}": full,
        **{f"/docs/{tag}.md": text for tag, text in groups.items()},
    }


def _index(document: Mapping[str, Any], base: str) -> str:
    dialects = f"Base URLs on this host: `{base}/v1` for OpenAI's clients, `{base}/api/paas/v4` for bigmodel's."
    beginning = document["info"]["description"]
    groups = [f"- [{tag}]({base}/docs/{tag}.md): {text}" for tag, text in _described(document).items()]
    more = [
        f"- [All of it]({base}/docs/{_FULL}): the files above in one",
        f"- [OpenAPI]({base}/openapi.json): the same as an OpenAPI 3.1 document, with every schema",
        f"- [For people]({base}/docs): the reference as a page",
        f"- [Console]({base}/console): where people see and steer what is rendered",
    ]
    parts = [f"# Cogmill\n\n> {SUMMARY}", dialects, beginning.strip(), "## Reference\n\n" + "\n".join(groups)]
    return "\n\n".join([*parts, "## Optional\n\n" + "\n".join(more)]) + "\n"


def _described(document: Mapping[str, Any]) -> dict[str, str]:
    """What each group that has routes here is for."""
    used = {tag for _, _, operation in _operations(document) for tag in operation.get("tags", ())}
    return {tag["name"]: tag["description"] for tag in document["tags"] if tag["name"] in used}


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def _group(document: Mapping[str, Any], tag: str) -> str:
    routes = [
        _route(document, method, path, operation)
        for method, path, operation in _operations(document)
        if tag in operation["tags"]
    ]
    return "\n".join([f"# {tag}\n\n> {_described(document)[tag]}\n", *routes])


def _route(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    scopes = [scope for each in operation.get("security", ()) for named in each.values() for scope in named]
    needs = f"Needs a key with the scope `{scopes[0]}`." if scopes else "Needs no key."
    answers = ", ".join(operation["responses"])
    described, mark, examples = operation["description"].partition(chapters.MARK)
    parts = [f"## {method} {path}", f"{operation['summary']}. {described.strip()}", f"{needs} Answers: {answers}."]
    if parameters := list(_parameters(operation)):
        parts.append("Parameters:\n" + "\n".join(parameters))
    if fields := list(_fields(document, operation)):
        parts.append("Body:\n" + "\n".join(fields))
    if mark:
        parts.append(examples.strip())
    return "\n\n".join(parts) + "\n"


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    # Those that every request may have are told once, at the beginning.
    for each in operation["parameters"]:
        if "$ref" not in each:
            yield _line(f"{each['name']}` ({each['in']})", each.get("description", ""))


def _fields(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(document, media["schema"])
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            must = ", required" if name in required else ""
            yield _line(f"{name}` ({_kind(document, field)}{must})", field.get("description", ""))
        return  # a form has the same fields


def _line(what: str, description: str) -> str:
    return f"- `{what}: {description}" if description else f"- `{what}"


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A JSON Schema in few words."""
    schema = _resolved(document, schema)
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return " | ".join(map(str, choices))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_kind(document, each) for each in schema["anyOf"]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array of {_kind(document, schema.get('items', {}))}"
    return str(kind)


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    resolved: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return resolved
