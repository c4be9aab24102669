"""Where in which trace something was asked for, from its row to the webhooks about it; and what attempts went through.

The release before writes none of it: what it claims keeps its trace, and what it ends tells of none.
"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

TRACED = ("jobs", "campaigns", "outbox", "deliveries")


def upgrade() -> None:
    for table in TRACED:
        op.execute(f"ALTER TABLE {table} ADD COLUMN trace text")
    op.execute("ALTER TABLE attempts ADD COLUMN timeline jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE attempts DROP COLUMN timeline")
    for table in reversed(TRACED):
        op.execute(f"ALTER TABLE {table} DROP COLUMN trace")
