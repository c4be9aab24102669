"""What renders teach: a row for each kind of render with its last ratios, added to by one statement: none is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.policy.prediction import Key, Lesson, Past
from orchestrator.store.part import Part
from orchestrator.store.tables import learned_ratios

_KEY = tuple(field.name for field in fields(Key))
_NAMES = ", ".join(_KEY)

# Two dispatchers may add to one row: the later one waits for the row, and adds to what it finds then. Rows are taken in
# the order of their keys, so that neither waits for the other in turn.
_LEARN = text(f"""
    INSERT INTO learned_ratios AS known ({_NAMES}, ratios, seen)
    SELECT {_NAMES}, (array_agg(ratio ORDER BY place DESC))[1:cast(:keep AS int)],
           (array_agg(extract(epoch FROM cogmill_now())::float8))[1:cast(:keep AS int)]
    FROM ROWS FROM (jsonb_to_recordset(:lessons) AS (
        model text, revision text, width int, height int, num_frames int, steps int, profile text, guided boolean,
        adapter text, kind text, ratio float8)) WITH ORDINALITY AS told({_NAMES}, ratio, place)
    GROUP BY {_NAMES} ORDER BY {_NAMES}
    ON CONFLICT ({_NAMES}) DO UPDATE
    SET ratios = (excluded.ratios || known.ratios)[1:cast(:keep AS int)],
        seen = (excluded.seen || known.seen)[1:cast(:keep AS int)], last_seen = cogmill_now()
""").bindparams(bindparam("lessons", type_=JSONB))

_PRUNE = text(f"""
    WITH late AS (
        SELECT {_NAMES} FROM (
            SELECT {_NAMES}, last_seen, row_number() OVER (ORDER BY last_seen DESC) AS place FROM learned_ratios) AS k
        WHERE last_seen < cogmill_now() - make_interval(secs => :keep_s) OR place > :most
    )
    DELETE FROM learned_ratios AS k USING late WHERE ({", ".join(f"k.{name}" for name in _KEY)})
        = ({", ".join(f"late.{name}" for name in _KEY)})
    RETURNING k.model
""")


class PredictionRows(Part):
    async def learn(self, lessons: Sequence[Lesson], *, keep: int) -> None:
        if lessons:
            told = [{**asdict(lesson.key), "ratio": lesson.ratio} for lesson in lessons]
            await self._database.fetch(_LEARN, {"lessons": told, "keep": keep})

    async def learned(self) -> list[Past]:
        table = learned_ratios.c
        found = await self._database.fetch(select(*(table[name] for name in (*_KEY, "ratios", "seen"))))
        return [
            Past(
                key=Key(**{name: row._mapping[name] for name in _KEY}),
                ratios=tuple(row.ratios),
                seen=tuple(row.seen),
            )
            for row in found
        ]

    async def prune_learned(self, *, keep_s: float, most: int) -> int:
        return len(await self._database.fetch(_PRUNE, {"keep_s": keep_s, "most": most}))
