"""Which generation of the master key a secret follows from; what is there follows from the first.

The release before reads none of it, and has the first alone: keys of others it refuses.
"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE keys ADD COLUMN master integer NOT NULL DEFAULT 1")
    op.execute("""
        ALTER TABLE webhook_endpoints
            ADD COLUMN master integer NOT NULL DEFAULT 1,
            ADD COLUMN previous_master integer
    """)
    op.execute("ALTER TABLE tenants ADD COLUMN master integer DEFAULT 1, ADD COLUMN previous_master integer")


def downgrade() -> None:
    op.execute("ALTER TABLE tenants DROP COLUMN master, DROP COLUMN previous_master")
    op.execute("ALTER TABLE webhook_endpoints DROP COLUMN master, DROP COLUMN previous_master")
    op.execute("ALTER TABLE keys DROP COLUMN master")
