"""The Ray clusters of releases, and which of them retire.

The release before neither writes nor reads it: its dispatchers claim whatever stands here.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ray_clusters (
            name text PRIMARY KEY,
            release text NOT NULL,
            state text NOT NULL,
            successor text,
            why text NOT NULL,
            grace_s double precision NOT NULL DEFAULT 0,
            version integer NOT NULL DEFAULT 0,
            obeyed boolean NOT NULL DEFAULT false,
            since timestamptz NOT NULL DEFAULT cogmill_now(),
            made_at timestamptz NOT NULL DEFAULT cogmill_now(),
            CONSTRAINT ray_clusters_state CHECK (state IN ('coming', 'serving', 'retiring', 'kept', 'ending'))
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE ray_clusters")
