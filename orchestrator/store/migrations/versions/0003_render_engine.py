"""The render engine's schema: where a job goes on, and what befell its render."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN incidents jsonb, ADD COLUMN checkpoint jsonb")
    op.execute("""
        CREATE INDEX jobs_checkpointed ON jobs (finished_at) WHERE finished_at IS NOT NULL AND checkpoint IS NOT NULL
    """)


def downgrade() -> None:
    raise NotImplementedError("checkpoints in S3 would have no row that leads to them: restore a backup instead")
