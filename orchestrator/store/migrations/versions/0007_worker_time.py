"""What workers' seconds went into, by hour: renders, waiting, loading, or nothing."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE worker_time (
            hour timestamptz NOT NULL,
            pool text NOT NULL,
            kind text NOT NULL,
            spell text NOT NULL,
            seconds double precision NOT NULL,
            PRIMARY KEY (hour, pool, kind, spell),
            CONSTRAINT worker_time_spell CHECK (spell IN ('busy', 'idle', 'loading', 'broken')),
            CONSTRAINT worker_time_seconds CHECK (seconds >= 0)
        )
    """)


def downgrade() -> None:
    raise NotImplementedError("what was counted would be forgotten: restore a backup instead")
