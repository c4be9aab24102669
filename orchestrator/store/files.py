"""Files: rows for objects that are in S3 already; tombstones until those are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ARRAY, ColumnElement, Row, Text, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert
from sqlalchemy.dialects.postgresql.dml import Insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.errors import LimitExceeded
from orchestrator.domain.job import Artifact
from orchestrator.policy.quotas import check_room
from orchestrator.ports.files import File, FilePage, NewFile
from orchestrator.store import quotas
from orchestrator.store.part import Part
from orchestrator.store.tables import files

_NOW = func.cogmill_now()

_BURY_EXPIRED = text("""
    UPDATE files SET deleted_at = cogmill_now()
    WHERE id IN (SELECT id FROM files WHERE expires_at <= cogmill_now() AND deleted_at IS NULL
                 ORDER BY expires_at LIMIT :n FOR UPDATE SKIP LOCKED)
""")

# The lines of a batch are read when their turn comes: its file goes after it.
_BURIED = text("""
    SELECT id, key FROM files AS f
    WHERE deleted_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM campaigns AS c WHERE c.tenant = f.tenant AND c.kind = 'batch' AND c.ended_at IS NULL
        AND c.input ->> 'source' = f.id)
    ORDER BY deleted_at LIMIT :n
""")

_UNKNOWN = text("""
    SELECT made.id FROM unnest(:ids, :times) AS made(id, at)
    WHERE made.at < cogmill_now() - make_interval(secs => :older_than_s)
      AND NOT EXISTS (SELECT FROM files WHERE files.id = made.id)
      -- What was put to a campaign's signed URL has no row of its own.
      AND NOT EXISTS (SELECT FROM campaigns WHERE right(input ->> 'key', 37) = made.id)
""").bindparams(bindparam("ids", type_=ARRAY(Text)), bindparam("times", type_=ARRAY(TIMESTAMP(timezone=True))))


class Files(Part):
    async def check_room(self, tenant: str, *, files: int, size: int) -> None:
        async def look(connection: AsyncConnection) -> None:
            found = await quotas.known(connection, tenant, self._defaults)
            check_room(found.limits, found.holding, files=files, stored_bytes=size)

        await self._database.transact(look)

    async def add_file(self, file: NewFile) -> File:
        async def add(connection: AsyncConnection) -> Row[Any] | LimitExceeded:
            over = await self._over(connection, file)
            same = select(files).where(files.c.id == file.id)
            # There: the commit of an earlier call went through and its answer was lost.
            earlier = (await connection.execute(same)).one_or_none()
            if earlier is not None:
                return earlier if over is None or earlier.deleted_at is None else over
            # Of one too many the object is there already: the sweeper takes it like those of deleted ones.
            new = inserted(file) if over is None else inserted(file).values(deleted_at=_NOW, counted=False)
            added = (await connection.execute(new.returning(*files.c))).one()
            return added if over is None else over

        added = await self._database.transact(add)
        if isinstance(added, LimitExceeded):
            raise added
        return _file(added)

    async def _over(self, connection: AsyncConnection, file: NewFile) -> LimitExceeded | None:
        try:
            await quotas.check(connection, file.tenant, self._defaults, files=1, stored_bytes=file.object.size)
        except LimitExceeded as error:
            return error
        return None

    async def get_file(self, file_id: str, tenant: str) -> File | None:
        found = await self._database.fetch(select(files).where(*_owned(file_id, tenant)))
        return _file(found[0]) if found else None

    async def list_files(
        self,
        tenant: str,
        *,
        limit: int,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        purpose: str | None = None,
    ) -> FilePage:
        query = select(files).where(files.c.tenant == tenant, *_there())
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        if after is not None:
            query = query.where(files.c.id > after if order == "asc" else files.c.id < after)
        query = query.order_by(files.c.id.asc() if order == "asc" else files.c.id.desc()).limit(limit + 1)
        found = await self._database.fetch(query)
        return FilePage(files=[_file(row) for row in found[:limit]], has_more=len(found) > limit)

    async def delete_file(self, file_id: str, tenant: str) -> bool:
        bury = update(files).where(*_owned(file_id, tenant)).values(deleted_at=func.cogmill_now()).returning(files.c.id)
        return bool(await self._database.fetch(bury))

    async def files_to_sweep(self, *, limit: int) -> dict[str, str]:
        await self._database.fetch(_BURY_EXPIRED, {"n": limit})
        found = await self._database.fetch(_BURIED, {"n": limit})
        return {row.id: row.key for row in found}

    async def files_swept(self, ids: Sequence[str]) -> None:
        await self._database.fetch(delete(files).where(files.c.id.in_(ids), files.c.deleted_at.is_not(None)))

    async def files_unknown(self, made: Mapping[str, datetime], *, older_than_s: float) -> set[str]:
        parameters: dict[str, Any] = {"ids": list(made), "times": list(made.values()), "older_than_s": older_than_s}
        return {row.id for row in await self._database.fetch(_UNKNOWN, parameters)}


def inserted(file: NewFile) -> Insert:
    """The statement that inserts a file's row."""
    now = func.cogmill_now()
    return insert(files).values(
        id=file.id,
        tenant=file.tenant,
        purpose=file.purpose,
        filename=file.filename,
        size=file.object.size,
        sha256=file.object.sha256,
        content_type=file.object.content_type,
        key=file.object.key,
        expires_at=None if file.lifetime_s is None else now + func.make_interval(0, 0, 0, 0, 0, 0, file.lifetime_s),
    )


def _there() -> tuple[ColumnElement[bool], ...]:
    """Neither deleted nor expired, whether or not a sweep has come by since."""
    return files.c.deleted_at.is_(None), func.coalesce(files.c.expires_at, text("'infinity'")) > func.cogmill_now()


def _owned(file_id: str, tenant: str) -> tuple[ColumnElement[bool], ...]:
    return files.c.id == file_id, files.c.tenant == tenant, *_there()


def _file(row: Row[Any]) -> File:
    return File(
        id=row.id,
        tenant=row.tenant,
        purpose=row.purpose,
        filename=row.filename,
        object=Artifact(key=row.key, size=row.size, sha256=row.sha256, content_type=row.content_type),
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
