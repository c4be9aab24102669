"""What was parked since it broke the loop that met it: listed with the evidence, and sent back into its loop."""

from __future__ import annotations

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.ports.parked import Parked, ParkedKind
from orchestrator.store.audit import record
from orchestrator.store.part import Part
from orchestrator.store.tables import parked

# A batch or a campaign is due again at once; an event goes back into the outbox.
_RESUME = text("""
    WITH gone AS (
        DELETE FROM parked WHERE subject = :subject RETURNING kind, subject, tenant, detail, error
    ), woken AS (
        UPDATE campaigns SET leased_until = NULL
        WHERE id IN (SELECT subject FROM gone WHERE kind IN ('batch', 'campaign')) AND lease IS NULL
    ), told AS (
        INSERT INTO outbox (job_id, batch_id, tenant, event, webhook_url, at, detail, trace)
        SELECT CAST(detail ->> 'job_id' AS uuid), detail ->> 'batch_id', tenant, detail ->> 'event',
               detail ->> 'webhook_url', CAST(detail ->> 'at' AS timestamptz), detail -> 'detail', detail ->> 'trace'
        FROM gone WHERE kind = 'event'
    )
    SELECT kind, tenant, error FROM gone
""").bindparams(bindparam("subject"))


class ParkedThings(Part):
    async def list_parked(self) -> list[Parked]:
        """All of them, the oldest first."""
        columns = (parked.c.kind, parked.c.subject, parked.c.tenant, parked.c.error, parked.c.at)
        found = await self._database.fetch(select(*columns).order_by(parked.c.at, parked.c.subject))
        return [Parked(**{**row._mapping, "kind": ParkedKind(row.kind)}) for row in found]

    async def resume_parked(self, subject: str) -> bool:
        """Let its loop meet it again; False when nothing of that id is parked."""

        async def resume(connection: AsyncConnection) -> bool:
            gone = (await connection.execute(_RESUME, {"subject": subject})).all()
            for row in gone:
                of, before = f"{row.kind}:{subject}", {"error": row.error}
                change = Change(action=Action.PARKED_RESUME, object=of, tenant=row.tenant, before=before)
                await record(connection, change)
            return bool(gone)

        return await self._database.transact(resume)
