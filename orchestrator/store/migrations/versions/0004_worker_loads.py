"""How workers stand with their models, as their dispatchers see it: the API, which never asks Ray, reads it here."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE worker_loads (
            cluster text NOT NULL,
            worker text NOT NULL,
            pool text NOT NULL,
            model text NOT NULL,
            state text NOT NULL,
            failures integer NOT NULL,
            reason text NOT NULL,
            detail text NOT NULL,
            told_at timestamptz NOT NULL DEFAULT cogmill_now(),
            PRIMARY KEY (cluster, worker),
            CONSTRAINT worker_loads_state CHECK (state IN ('starting', 'loading', 'loaded', 'broken'))
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE worker_loads")
