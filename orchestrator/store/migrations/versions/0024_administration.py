"""Orders to single workers, dead letters that were looked after, and an index on what has failed.

The release before knows none of them: its dispatcher drains nobody, and its maintainer leaves a dead letter's row when
its job goes, which says nothing any more.
"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE worker_orders (
            cluster text NOT NULL,
            worker text NOT NULL,
            pool text NOT NULL,
            kind text NOT NULL,
            incarnation text NOT NULL,
            within_s double precision,
            asked_by text NOT NULL,
            asked_at timestamptz NOT NULL DEFAULT cogmill_now(),
            PRIMARY KEY (cluster, worker),
            CONSTRAINT worker_orders_kind CHECK (kind IN ('drain', 'replace')),
            CONSTRAINT worker_orders_within CHECK (within_s >= 0)
        )
    """)
    op.execute("""
        CREATE TABLE dead_letters (
            job_id uuid PRIMARY KEY,
            fate text NOT NULL,
            successor uuid,
            ended_by text NOT NULL,
            ended_at timestamptz NOT NULL DEFAULT cogmill_now(),
            CONSTRAINT dead_letters_fate CHECK (fate IN ('released', 'forgotten')),
            CONSTRAINT dead_letters_successor CHECK ((fate = 'released') = (successor IS NOT NULL))
        )
    """)
    op.execute("CREATE INDEX jobs_failed ON jobs (id) WHERE state = 'failed' AND deleted_at IS NULL")


def downgrade() -> None:
    op.execute("DROP INDEX jobs_failed")
    op.execute("DROP TABLE dead_letters")
    op.execute("DROP TABLE worker_orders")
