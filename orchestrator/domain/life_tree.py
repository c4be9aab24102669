"""The life of a job as a tree: its waits, its attempts with their stages, and who was told of its end.

Pure, and from rows alone: it needs no traces, and shows what they would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain.job import public_id
from orchestrator.domain.life import Life, Phase, Stretch, because, course
from orchestrator.domain.trace import trace_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing that went on for a while; without an end it still does."""

    name: str
    began_at: datetime
    ended_at: datetime | None
    # In words: how it ended, or why it took so long.
    note: str = ""
    children: tuple[Node, ...] = ()


def tree(life: Life) -> Node:
    """The whole life, in the order of its beginnings."""
    job = life.job
    parts = [*map(_part, course(life)), *_tellings(life)]
    return Node(
        name="job",
        began_at=job.created_at,
        ended_at=job.finished_at,
        note=because(job.state.value, job.failure),
        children=tuple(sorted(parts, key=lambda part: part.began_at)),
    )


def document(life: Life) -> dict[str, Any]:
    """The same as JSON has it: a list, each behind its parent; moments in seconds of Unix time, lengths in seconds."""
    job = life.job
    return {
        "id": public_id(job.id),
        "object": "job.trace",
        "tenant": job.tenant,
        "pool": job.pool,
        "model": job.spec.model,
        "state": job.state.value,
        "campaign": life.campaign,
        "trace_id": trace_id_of(life.trace),
        "spans": [_span(number, parent, node, life.now) for number, (parent, node) in enumerate(_listed(tree(life)))],
    }


def _listed(root: Node) -> list[tuple[int | None, Node]]:
    """Every node, with its parent's place in the list."""
    found: list[tuple[int | None, Node]] = []

    def add(parent: int | None, node: Node) -> None:
        found.append((parent, node))
        here = len(found) - 1
        for child in node.children:
            add(here, child)

    add(None, root)
    return found


def _span(number: int, parent: int | None, node: Node, now: datetime) -> dict[str, Any]:
    return {
        "number": number,
        "parent": parent,
        "name": node.name,
        "began_at": node.began_at.timestamp(),
        "ended_at": None if node.ended_at is None else node.ended_at.timestamp(),
        "seconds": round(max(0.0, ((node.ended_at or now) - node.began_at).total_seconds()), 3),
        "note": node.note,
    }


def _part(stretch: Stretch) -> Node:
    return Node(
        name=f"attempt {stretch.attempt}" if stretch.phase is Phase.ATTEMPT else stretch.phase.value,
        began_at=stretch.begins,
        ended_at=stretch.ends,
        note=stretch.note,
        children=tuple(Node(name=name, began_at=began, ended_at=ended) for name, began, ended in stretch.stages),
    )


def _tellings(life: Life) -> Iterator[Node]:
    for told in life.told:
        tries = f"{told.attempts} {'try' if told.attempts == 1 else 'tries'}"
        words = [f"{told.event_type} to {told.host}", told.state.value, tries, *([told.error] if told.error else [])]
        yield Node(name="webhook", began_at=told.created_at, ended_at=told.ended_at, note=", ".join(words))
    if life.untold and life.job.finished_at is not None:
        yield Node(name="webhook", began_at=life.job.finished_at, ended_at=None, note="to be announced")
