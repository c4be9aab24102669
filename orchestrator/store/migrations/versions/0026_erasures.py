"""Erasures of tenants, and the fence: nothing new comes in for a tenant that is being erased.

The fence stands in the database, so that it holds for what is in flight, and for processes of the release before, too.
"""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# Whatever a tenant brings begins with a row of one of these.
FENCED = ("jobs", "files", "batches", "campaigns", "keys", "webhook_endpoints")


def upgrade() -> None:
    op.execute("""
        CREATE TABLE erasures (
            id text PRIMARY KEY,
            tenant text,
            keep_usage boolean NOT NULL,
            requested_by text NOT NULL,
            requested_at timestamptz NOT NULL DEFAULT cogmill_now(),
            due_at timestamptz NOT NULL DEFAULT cogmill_now(),
            erased jsonb NOT NULL DEFAULT '{}',
            waits_for text,
            secret_generation integer NOT NULL DEFAULT 0,
            finished_at timestamptz,
            receipt text,
            CONSTRAINT erasures_finished_has_receipt CHECK (num_nulls(finished_at, receipt) IN (0, 2)),
            CONSTRAINT erasures_finished_names_nobody CHECK ((tenant IS NULL) = (finished_at IS NOT NULL))
        )
    """)
    op.execute("CREATE UNIQUE INDEX erasures_open ON erasures (tenant) WHERE finished_at IS NULL")
    op.execute("""
        CREATE TABLE erasure_rest (
            erasure text NOT NULL,
            kind text NOT NULL,
            subject text NOT NULL,
            due_at timestamptz NOT NULL,
            PRIMARY KEY (erasure, kind, subject),
            CONSTRAINT erasure_rest_kind CHECK (kind IN ('job', 'picture'))
        )
    """)
    # Once for each statement, and nearly always over after one look at a table without an open row: 64 jobs of one
    # statement pay no more than one does.
    op.execute("""
        CREATE FUNCTION cogmill_refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            closed text;
        BEGIN
            IF EXISTS (SELECT FROM erasures WHERE finished_at IS NULL) THEN
                SELECT e.tenant INTO closed FROM erasures AS e
                WHERE e.finished_at IS NULL AND e.tenant IN (SELECT tenant FROM added) LIMIT 1;
                IF closed IS NOT NULL THEN
                    RAISE EXCEPTION 'the tenant % is being erased', closed USING ERRCODE = 'ZE001';
                END IF;
            END IF;
            RETURN NULL;
        END $$
    """)
    for table in FENCED:
        op.execute(
            f"CREATE TRIGGER refuse_erased AFTER INSERT ON {table} REFERENCING NEW TABLE AS added "
            "FOR EACH STATEMENT EXECUTE FUNCTION cogmill_refuse_erased()"
        )
    # The secret of a tenant's webhooks follows from its name and a generation: who has the name of one that was erased
    # would sign with what that one knows.
    op.execute("""
        CREATE FUNCTION cogmill_new_secret() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.secret_generation := NEW.secret_generation
                + coalesce((SELECT max(secret_generation) FROM erasures WHERE finished_at IS NOT NULL), 0);
            RETURN NEW;
        END $$
    """)
    op.execute("CREATE TRIGGER new_secret BEFORE INSERT ON tenants FOR EACH ROW EXECUTE FUNCTION cogmill_new_secret()")


def downgrade() -> None:
    op.execute("DROP TRIGGER new_secret ON tenants")
    op.execute("DROP FUNCTION cogmill_new_secret()")
    for table in FENCED:
        op.execute(f"DROP TRIGGER refuse_erased ON {table}")
    op.execute("DROP FUNCTION cogmill_refuse_erased()")
    op.execute("DROP TABLE erasure_rest")
    op.execute("DROP TABLE erasures")
