"""The ledger knows on which kind of worker an attempt was made, and what a second of that cost."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null of what earlier releases have written, and write while the new ones roll out.
    op.execute("ALTER TABLE usage ADD COLUMN kind text")
    op.execute("ALTER TABLE attempts ADD COLUMN price double precision CONSTRAINT attempts_price CHECK (price >= 0)")


def downgrade() -> None:
    raise NotImplementedError("what was told apart would be no more: restore a backup instead")
