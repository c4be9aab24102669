"""When campaigns and pools are done, written by one leader and read by everybody."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE forecasts (
            subject text NOT NULL,
            name text NOT NULL,
            made_at timestamptz NOT NULL,
            low_at timestamptz,
            likely_at timestamptz,
            high_at timestamptz,
            at_risk boolean,
            reason text,
            advice text,
            PRIMARY KEY (subject, name),
            CONSTRAINT forecasts_subject CHECK (subject IN ('campaign', 'pool')),
            CONSTRAINT forecasts_in_order CHECK (low_at <= likely_at AND likely_at <= high_at)
        )
    """)
    op.execute("""
        CREATE TABLE leaders (
            duty text NOT NULL,
            lease uuid NOT NULL,
            leased_until timestamptz NOT NULL,
            PRIMARY KEY (duty)
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE forecasts")
    op.execute("DROP TABLE leaders")
