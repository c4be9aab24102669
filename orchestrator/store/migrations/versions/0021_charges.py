"""What lanes and limits count for a job where its finishing takes more than its GPU; rows that are there keep theirs.

The release before goes on charging costs and GPU seconds. A job that it claims and this one ends leaves its lane the
difference short, and one that this one claims and it ends leaves it there: both pass with the rollout.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN charge float8 CONSTRAINT jobs_charge CHECK (charge >= 0)")
    op.execute("""
        ALTER TABLE usage ADD COLUMN charge float8, ADD CONSTRAINT usage_charge CHECK (charge > gpu_seconds)
    """)
    op.execute("""
        CREATE INDEX usage_charged ON usage (tenant, at) INCLUDE (gpu_seconds, charge) WHERE charge IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("DROP INDEX usage_charged")
    op.execute("ALTER TABLE usage DROP COLUMN charge")
    op.execute("ALTER TABLE jobs DROP COLUMN charge")
