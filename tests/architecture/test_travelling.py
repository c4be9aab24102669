"""What is pickled between a dispatcher and actors of another release: each class under the name that it always had.

A pickle names a class by its module. So a class that travels may gain fields that have defaults, and nothing else: not
another module, not another name. This file is the list; a release that changes it cannot talk to the one before.
"""

from __future__ import annotations

import ast
import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from orchestrator.domain import errors
from orchestrator.ports import Workers
from tests.support.sources import ROOT

TRAVELS = {
    "orchestrator.config.rendering": {"AdapterSettings", "EngineSettings", "PoolSettings"},
    "orchestrator.config.sections": {"FinishSettings", "LogSettings", "ModerationSettings", "S3Settings"},
    "orchestrator.domain.catalog": {"Profile"},
    "orchestrator.domain.delivery": {"Delivery"},
    "orchestrator.domain.job": {
        "Artifact", "Checkpoint", "Continuity", "Failure", "Incident", "RenderSpec", "VideoResult", "WorkerRef",
    },
    "orchestrator.domain.protocol": {
        "Answer", "Assignment", "Broke", "Caller", "HandedBack", "RenderStatus", "Rendered", "Stage", "Stopped",
        "WorkerState", "WorkerStatus",
    },
    "orchestrator.ports.workers": {"WorkerPlan"},
}  # fmt: skip

# What an actor raises at its caller, and Ray brings over.
RAISED = {"ProtocolMismatch", "StaleEpoch"}


def _mentioned(annotation: Any) -> Iterator[type]:
    """The classes in a type hint, however deep."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _mentioned(argument)


def _reached() -> set[type]:
    """Every class of ours that the port's calls carry, there or back, or are made of."""
    calls = [call for name, call in vars(Workers).items() if not name.startswith("_") and callable(call)]
    waiting = [kind for call in calls for hint in typing.get_type_hints(call).values() for kind in _mentioned(hint)]
    found: set[type] = set()
    while waiting:
        kind = waiting.pop()
        if kind in found or not kind.__module__.startswith(("orchestrator.", "workers.")):
            continue
        found.add(kind)
        if dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel):
            waiting += [each for hint in typing.get_type_hints(kind).values() for each in _mentioned(hint)]
    return found


def test_what_travels_is_where_it_was() -> None:
    found: dict[str, set[str]] = {}
    for kind in _reached():
        found.setdefault(kind.__module__, set()).add(kind.__qualname__)
    # The kinds of a pool are no worker's business: `PoolSettings.as_sent` leaves them out.
    found["orchestrator.config.rendering"].remove("KindSettings")
    assert found == TRAVELS


def test_what_actors_raise_is_where_it_was() -> None:
    tree = ast.parse((ROOT / "workers/actor.py").read_text())
    raised = {
        ast.unparse(node.exc.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    assert raised == RAISED
    assert {getattr(errors, name).__module__ for name in raised} == {"orchestrator.domain.errors"}


def test_the_actor_itself_is_where_it_was() -> None:
    (hosted,) = (
        node
        for node in ast.parse((ROOT / "workers/hosting.py").read_text()).body
        if getattr(node, "name", "") == "HostedRenderActor"
    )
    assert isinstance(hosted, ast.ClassDef)
    called = {node.name for node in hosted.body if isinstance(node, ast.AsyncFunctionDef)}
    # All but what Ray itself does to an actor.
    rays = {"list_workers", "nodes", "hosts", "leftovers", "start", "kill"}
    port = {name for name in vars(Workers) if not name.startswith("_")} - rays
    assert called == port
