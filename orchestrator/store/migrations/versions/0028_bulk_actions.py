"""Actions on all jobs that match a filter, carried on in steps.

The release before neither writes nor reads it.
"""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE bulk_actions (
            id text PRIMARY KEY,
            owner text NOT NULL,
            tenant text,
            administrative boolean NOT NULL DEFAULT false,
            action text NOT NULL,
            filter jsonb NOT NULL,
            priority smallint,
            actor jsonb NOT NULL,
            asked_by text NOT NULL,
            asked_at timestamptz NOT NULL DEFAULT cogmill_now(),
            expected bigint NOT NULL,
            about boolean NOT NULL,
            state text NOT NULL DEFAULT 'running',
            cursor uuid,
            matched bigint NOT NULL DEFAULT 0,
            done bigint NOT NULL DEFAULT 0,
            skipped jsonb NOT NULL DEFAULT '{}',
            failed jsonb NOT NULL DEFAULT '{}',
            examples jsonb NOT NULL DEFAULT '[]',
            waits_for text,
            ended_at timestamptz,
            idempotency_key text,
            request_hash text,
            lease uuid,
            leased_until timestamptz,
            CONSTRAINT bulk_actions_action CHECK (action IN ('cancel', 'retry', 'priority')),
            CONSTRAINT bulk_actions_priority CHECK ((action = 'priority') = (priority IS NOT NULL)),
            CONSTRAINT bulk_actions_state CHECK (state IN ('running', 'completed', 'cancelled')),
            CONSTRAINT bulk_actions_ended CHECK ((state = 'running') = (ended_at IS NULL)),
            CONSTRAINT bulk_actions_own CHECK (administrative OR tenant IS NOT NULL AND tenant = owner),
            CONSTRAINT bulk_actions_key_has_hash CHECK (idempotency_key IS NULL OR request_hash IS NOT NULL)
        )
    """)
    op.execute("CREATE INDEX bulk_actions_listing ON bulk_actions (owner, id)")
    op.execute("CREATE INDEX bulk_actions_running ON bulk_actions (id) WHERE ended_at IS NULL")
    op.execute("CREATE INDEX bulk_actions_old ON bulk_actions (ended_at) WHERE ended_at IS NOT NULL")
    op.execute(
        "CREATE UNIQUE INDEX bulk_actions_idempotency ON bulk_actions (owner, administrative, idempotency_key) "
        "WHERE idempotency_key IS NOT NULL"
    )
    # As what a tenant brings else: none for one that is being erased.
    op.execute("""
        CREATE FUNCTION cogmill_refuse_erased_owner() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM erasures WHERE finished_at IS NULL AND tenant IN (NEW.owner, NEW.tenant)) THEN
                RAISE EXCEPTION 'the tenant is being erased' USING ERRCODE = 'ZE001';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute(
        "CREATE TRIGGER refuse_erased BEFORE INSERT ON bulk_actions "
        "FOR EACH ROW EXECUTE FUNCTION cogmill_refuse_erased_owner()"
    )


def downgrade() -> None:
    op.execute("DROP TABLE bulk_actions")
    op.execute("DROP FUNCTION cogmill_refuse_erased_owner()")
