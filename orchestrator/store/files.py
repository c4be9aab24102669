"""Files: rows for objects that are in S3 already; tombstones until those are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ARRAY, ColumnElement, Row, Text, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert
from sqlalchemy.dialects.postgresql.dml import Insert

from orchestrator.domain.job import Artifact
from orchestrator.ports.files import File, FilePage, NewFile
from orchestrator.store.part import Part
from orchestrator.store.tables import files

_BURY_EXPIRED = text("""
    UPDATE files SET deleted_at = cogmill_now()
    WHERE id IN (SELECT id FROM files WHERE expires_at <= cogmill_now() AND deleted_at IS NULL
                 ORDER BY expires_at LIMIT :n FOR UPDATE SKIP LOCKED)
""")

_UNKNOWN = text("""
    SELECT made.id FROM unnest(:ids, :times) AS made(id, at)
    WHERE made.at < cogmill_now() - make_interval(secs => :older_than_s)
      AND NOT EXISTS (SELECT FROM files WHERE files.id = made.id)
      -- What was put to a campaign's signed URL has no row of its own.
      AND NOT EXISTS (SELECT FROM campaigns WHERE right(input ->> 'key', 37) = made.id)
""").bindparams(bindparam("ids", type_=ARRAY(Text)), bindparam("times", type_=ARRAY(TIMESTAMP(timezone=True))))


class Files(Part):
    async def add_file(self, file: NewFile) -> File:
        added = await self._database.fetch(inserted(file).on_conflict_do_nothing().returning(*files.c))
        # No row: the commit of an earlier call went through and its answer was lost.
        found = added or await self._database.fetch(select(files).where(files.c.id == file.id))
        return _file(found[0])

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
        buried = select(files.c.id, files.c.key).where(files.c.deleted_at.is_not(None))
        found = await self._database.fetch(buried.order_by(files.c.deleted_at).limit(limit))
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
