"""What a decision about a fleet was based on is kept with it."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE scale_decisions ADD COLUMN basis jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE scale_decisions DROP COLUMN basis")
