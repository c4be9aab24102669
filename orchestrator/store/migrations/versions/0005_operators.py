"""Who runs the queue and what they hold up: operators' keys, paused pools, and what was parked for them to look at."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE keys ADD COLUMN operator boolean DEFAULT false NOT NULL")
    op.execute("""
        CREATE TABLE pauses (
            pool text NOT NULL,
            reason text NOT NULL,
            paused_by text NOT NULL,
            paused_at timestamptz DEFAULT cogmill_now() NOT NULL,
            resumed_by text,
            resumed_at timestamptz,
            PRIMARY KEY (pool),
            CONSTRAINT pauses_resumed CHECK ((resumed_by IS NULL) = (resumed_at IS NULL))
        )
    """)
    op.execute("""
        CREATE TABLE parked (
            kind text NOT NULL,
            subject text NOT NULL,
            tenant text NOT NULL,
            error text NOT NULL,
            detail jsonb NOT NULL,
            at timestamptz DEFAULT cogmill_now() NOT NULL,
            PRIMARY KEY (kind, subject),
            CONSTRAINT parked_kind CHECK (kind IN ('batch', 'event'))
        )
    """)


def downgrade() -> None:
    raise NotImplementedError("what was parked would be forgotten: restore a backup instead")
