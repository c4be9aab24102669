"""Clusters that give up their pods one by one: which host has which workers, and which go.

A dispatcher of the release before claims on in a cluster that yields, and gives up nothing.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE ray_clusters
            ADD COLUMN hosts jsonb NOT NULL DEFAULT '{}',
            ADD COLUMN gives jsonb NOT NULL DEFAULT '{}',
            DROP CONSTRAINT ray_clusters_state,
            ADD CONSTRAINT ray_clusters_state
                CHECK (state IN ('coming', 'serving', 'yielding', 'retiring', 'kept', 'ending'))
    """)


def downgrade() -> None:
    op.execute("""
        UPDATE ray_clusters SET state = 'serving' WHERE state = 'yielding';
        ALTER TABLE ray_clusters
            DROP COLUMN hosts,
            DROP COLUMN gives,
            DROP CONSTRAINT ray_clusters_state,
            ADD CONSTRAINT ray_clusters_state
                CHECK (state IN ('coming', 'serving', 'retiring', 'kept', 'ending'))
    """)
