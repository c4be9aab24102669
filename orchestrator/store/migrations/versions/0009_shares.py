"""What a tenant has of one pool: guaranteed workers and a cap; and the two counts that every claim makes for it."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE shares (
            tenant text NOT NULL,
            pool text NOT NULL,
            guaranteed integer DEFAULT 0 NOT NULL,
            running integer,
            PRIMARY KEY (tenant, pool),
            CONSTRAINT shares_ranges CHECK (guaranteed >= 0 AND running >= 0 AND guaranteed <= running)
        )
    """)
    op.execute("CREATE INDEX shares_pool ON shares (pool)")
    _functions()


def _functions() -> None:
    # Volatile, so that what they read is as new as the call. A claim's own snapshot may be older than its locks, and
    # what was committed in between would not be counted.
    # Of a live job's states only `running` sorts behind `queued`; to ask for it by name would lead the planner to the
    # index of all that runs.
    op.execute("""
        CREATE FUNCTION cogmill_running(of text, here text) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            RETURN (SELECT count(*) FROM jobs AS r
                    WHERE r.tenant = of AND coalesce(r.finished_at, 'infinity') = 'infinity' AND r.state > 'queued'
                      AND (here IS NULL OR r.pool = here));
        END $$
    """)
    # A cap over all pools is counted by one claimer at a time, until its claim is written; but who is at its cap is so
    # without a lock. Within one pool there is one claimer anyhow.
    op.execute("""
        CREATE FUNCTION cogmill_room(of text, here text, most float8, most_here float8) RETURNS float8
        LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            room float8 := 'infinity';
        BEGIN
            IF most_here IS NOT NULL THEN
                room := greatest(0, most_here - cogmill_running(of, here));
            END IF;
            IF most IS NULL OR room = 0 THEN
                RETURN room;
            END IF;
            IF most <= cogmill_running(of, NULL) THEN
                RETURN 0;
            END IF;
            IF NOT pg_try_advisory_xact_lock(hashtextextended('cogmill:cap:' || of, 0)) THEN
                RETURN -1;
            END IF;
            RETURN least(room, greatest(0, most - cogmill_running(of, NULL)));
        END $$
    """)


def downgrade() -> None:
    raise NotImplementedError("what tenants were guaranteed would be forgotten: restore a backup instead")
