"""Inputs: one live object per content, touched before the job that needs it, swept once no job does.

A job's object is there for as long as the job is:

- A submit uses the row before its job is inserted. From then on the row counts as used for `idle_s` (a day), and until
  that has passed the job is there or its submit has long failed.
- Then the job's own row keeps the input, whatever becomes of the job, until retention deletes it.
- A job made from another one (a retry, a remix) takes over its object without a use. Should the earlier job be deleted
  in that very moment, the input may be given up; but objects go `grace_s` (an hour) later, and only if still no job has
  that content.
- A use and a sweep want the same row lock. A sweep that comes second sees the new `used_at`; a use that comes second
  sees no live row, and its caller uploads an object of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Row, Text, bindparam, delete, func, text, update
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert

from orchestrator.domain.job import Artifact
from orchestrator.store.part import Part
from orchestrator.store.tables import inputs

# What a job still has counts as used now: each row is looked at once in `idle_s`, not at every sweep. No EXISTS: the
# planner would rather hash all inputs of all jobs.
_GIVE_UP = text("""
    UPDATE inputs SET used_at = CASE WHEN needed THEN cogmill_now() ELSE used_at END,
                      dying_at = CASE WHEN needed THEN NULL ELSE cogmill_now() END
    FROM (
        SELECT key AS idle_key, (SELECT true FROM jobs WHERE jobs.input = inputs.sha256 LIMIT 1) AS needed FROM inputs
        WHERE dying_at IS NULL AND used_at <= cogmill_now() - make_interval(secs => :idle_s)
        ORDER BY used_at LIMIT :n FOR UPDATE SKIP LOCKED
    ) AS idle
    WHERE key = idle_key
""")

_DUE = text("""
    SELECT key FROM inputs
    WHERE dying_at <= cogmill_now() - make_interval(secs => :grace_s)
      AND NOT EXISTS (SELECT FROM jobs WHERE jobs.input = inputs.sha256)
    ORDER BY dying_at LIMIT :n
""")

_UNKNOWN = text("""
    SELECT made.key FROM unnest(:keys, :times) AS made(key, at)
    WHERE made.at < cogmill_now() - make_interval(secs => :older_than_s)
      AND NOT EXISTS (SELECT FROM inputs WHERE inputs.key = made.key)
""").bindparams(bindparam("keys", type_=ARRAY(Text)), bindparam("times", type_=ARRAY(TIMESTAMP(timezone=True))))


class Inputs(Part):
    async def use_input(self, sha256: str) -> Artifact | None:
        use = (
            update(inputs)
            .where(inputs.c.sha256 == sha256, inputs.c.dying_at.is_(None))
            .values(used_at=func.cogmill_now())
            .returning(inputs)
        )
        found = await self._database.fetch(use)
        return _artifact(found[0]) if found else None

    async def add_input(self, uploaded: Artifact) -> Artifact:
        add = insert(inputs).values(
            key=uploaded.key, sha256=uploaded.sha256, size=uploaded.size, content_type=uploaded.content_type
        )
        # Also when an earlier call of ours was committed and its answer lost.
        add_or_use = add.on_conflict_do_update(
            index_elements=["sha256"], index_where=inputs.c.dying_at.is_(None), set_={"used_at": func.cogmill_now()}
        )
        (row,) = await self._database.fetch(add_or_use.returning(inputs))
        return _artifact(row)

    async def inputs_to_sweep(self, *, idle_s: float, grace_s: float, limit: int) -> list[str]:
        await self._database.fetch(_GIVE_UP, {"idle_s": idle_s, "n": limit})
        return [row.key for row in await self._database.fetch(_DUE, {"grace_s": grace_s, "n": limit})]

    async def inputs_swept(self, keys: Sequence[str]) -> None:
        await self._database.fetch(delete(inputs).where(inputs.c.key.in_(keys), inputs.c.dying_at.is_not(None)))

    async def inputs_unknown(self, made: Mapping[str, datetime], *, older_than_s: float) -> set[str]:
        parameters: dict[str, Any] = {"keys": list(made), "times": list(made.values()), "older_than_s": older_than_s}
        return {row.key for row in await self._database.fetch(_UNKNOWN, parameters)}


def _artifact(row: Row[Any]) -> Artifact:
    return Artifact(key=row.key, size=row.size, sha256=row.sha256, content_type=row.content_type)
