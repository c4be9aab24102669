"""What renders have taught of how long renders take."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE learned_ratios (
            model TEXT NOT NULL,
            revision TEXT NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            num_frames INTEGER NOT NULL,
            steps INTEGER NOT NULL,
            profile TEXT NOT NULL,
            guided BOOLEAN NOT NULL,
            adapter TEXT NOT NULL,
            kind TEXT NOT NULL,
            ratios DOUBLE PRECISION[] NOT NULL,
            seen DOUBLE PRECISION[] NOT NULL,
            last_seen TIMESTAMP WITH TIME ZONE DEFAULT cogmill_now() NOT NULL,
            PRIMARY KEY (model, revision, width, height, num_frames, steps, profile, guided, adapter, kind),
            CONSTRAINT learned_ratios_paired CHECK (cardinality(ratios) = cardinality(seen))
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE learned_ratios")
