"""When jobs that wait begin, by lane: written by who leads in forecasts, read by whoever asks for such a job.

The release before neither writes nor reads it. While a process of that leads, what is here ages, and is told no more.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE lane_forecasts (
            pool text NOT NULL,
            tenant text NOT NULL,
            priority smallint NOT NULL,
            made_at timestamptz NOT NULL,
            ahead_s double precision[] NOT NULL,
            low_s double precision[] NOT NULL,
            likely_s double precision[] NOT NULL,
            high_s double precision[] NOT NULL,
            stretch double precision[] NOT NULL,
            reason text,
            PRIMARY KEY (pool, tenant, priority)
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE lane_forecasts")
