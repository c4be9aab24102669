"""What the overview is made of: samples of the queue and of GPUs, quarantines with their evidence, adapters held.

The release before neither writes nor reads it.
"""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE flow_clock (
            singleton boolean PRIMARY KEY DEFAULT true,
            until timestamptz NOT NULL,
            readings jsonb NOT NULL DEFAULT '{}',
            CONSTRAINT flow_clock_is_one CHECK (singleton)
        )
    """)
    op.execute("""
        CREATE TABLE flow_samples (
            subject text NOT NULL,
            name text NOT NULL,
            at timestamptz NOT NULL,
            accepted integer NOT NULL,
            waiting integer NOT NULL,
            running integer NOT NULL,
            ending integer NOT NULL,
            succeeded integer NOT NULL,
            failed integer NOT NULL,
            cancelled integer NOT NULL,
            PRIMARY KEY (subject, name, at),
            CONSTRAINT flow_samples_subject CHECK (subject IN ('pool', 'priority', 'tenant')),
            CONSTRAINT flow_samples_counts CHECK (
                accepted >= 0 AND waiting >= 0 AND running >= 0 AND ending >= 0
                AND succeeded >= 0 AND failed >= 0 AND cancelled >= 0)
        )
    """)
    op.execute("CREATE INDEX flow_samples_at ON flow_samples (at)")
    op.execute("""
        CREATE TABLE gpu_samples (
            pool text NOT NULL,
            at timestamptz NOT NULL,
            busy_s double precision NOT NULL,
            worker_s double precision NOT NULL,
            PRIMARY KEY (pool, at),
            CONSTRAINT gpu_samples_seconds CHECK (busy_s >= 0 AND worker_s >= busy_s)
        )
    """)
    op.execute("CREATE INDEX gpu_samples_at ON gpu_samples (at)")
    op.execute("""
        CREATE TABLE quarantines (
            cluster text NOT NULL,
            worker text NOT NULL,
            incarnation text NOT NULL,
            job_id uuid NOT NULL,
            tenant text NOT NULL,
            pool text NOT NULL,
            at timestamptz NOT NULL DEFAULT cogmill_now(),
            PRIMARY KEY (cluster, worker, incarnation, job_id)
        )
    """)
    op.execute("CREATE INDEX quarantines_at ON quarantines (at)")
    op.execute("ALTER TABLE worker_loads ADD COLUMN adapters text[] NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    op.execute("ALTER TABLE worker_loads DROP COLUMN adapters")
    for table in ("quarantines", "gpu_samples", "flow_samples", "flow_clock"):
        op.execute(f"DROP TABLE {table}")
