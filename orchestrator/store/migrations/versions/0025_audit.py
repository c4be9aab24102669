"""The audit log, its seals and the checkpoints of its retention; and the key that made a job or a campaign.

The release before neither writes nor reads it.
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN made_by text")
    op.execute("ALTER TABLE campaigns ADD COLUMN made_by text")
    op.execute("""
        CREATE TABLE audit (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT cogmill_now(),
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            action text NOT NULL,
            outcome text NOT NULL,
            actor text,
            actor_tenant text,
            address text,
            request_id text,
            tenant text,
            object text,
            before text,
            after text,
            salts jsonb NOT NULL,
            digests jsonb NOT NULL,
            seal bigint
        )
    """)
    op.execute("CREATE INDEX audit_at ON audit (at, id)")
    op.execute("CREATE INDEX audit_tenant ON audit (tenant, id)")
    op.execute("CREATE INDEX audit_actor ON audit (actor, id)")
    op.execute("CREATE INDEX audit_actor_tenant ON audit (actor_tenant, id)")
    op.execute("CREATE INDEX audit_unsealed ON audit (id) WHERE seal IS NULL")
    op.execute("CREATE INDEX audit_seal ON audit (seal, id)")
    op.execute("""
        CREATE TABLE audit_seals (
            number bigint PRIMARY KEY,
            at timestamptz NOT NULL,
            previous text NOT NULL,
            ids bigint[] NOT NULL,
            digests text[] NOT NULL,
            key text NOT NULL,
            head text NOT NULL,
            CONSTRAINT audit_seals_entries CHECK (number > 0 AND cardinality(ids) = cardinality(digests))
        )
    """)
    op.execute("""
        CREATE TABLE audit_checkpoints (
            number bigint PRIMARY KEY,
            at timestamptz NOT NULL,
            link text NOT NULL,
            entries bigint NOT NULL,
            key text NOT NULL,
            signature text NOT NULL
        )
    """)


def downgrade() -> None:
    for table in ("audit_checkpoints", "audit_seals", "audit"):
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE campaigns DROP COLUMN made_by")
    op.execute("ALTER TABLE jobs DROP COLUMN made_by")
