"""Fleets of several kinds: how many workers of each there are, and what was decided about them."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE fleet_kinds (
            cluster text NOT NULL,
            pool text NOT NULL,
            kind text NOT NULL,
            wanted integer NOT NULL,
            requested integer NOT NULL,
            starting integer NOT NULL,
            ready integer NOT NULL,
            draining integer NOT NULL,
            why text NOT NULL,
            failures integer DEFAULT 0 NOT NULL,
            rests_s double precision DEFAULT 0 NOT NULL,
            told_at timestamptz DEFAULT cogmill_now() NOT NULL,
            PRIMARY KEY (cluster, pool, kind),
            CONSTRAINT fleet_kinds_counts CHECK (wanted >= 0 AND requested >= 0 AND starting >= 0 AND ready >= 0 AND
                draining >= 0 AND failures >= 0)
        )
    """)
    op.execute("""
        CREATE TABLE scale_decisions (
            number bigint GENERATED ALWAYS AS IDENTITY,
            cluster text NOT NULL,
            pool text NOT NULL,
            kind text NOT NULL,
            change integer NOT NULL,
            why text NOT NULL,
            at timestamptz DEFAULT cogmill_now() NOT NULL,
            PRIMARY KEY (number)
        )
    """)
    op.execute("CREATE INDEX scale_decisions_cluster ON scale_decisions (cluster, number)")


def downgrade() -> None:
    op.execute("DROP TABLE scale_decisions")
    op.execute("DROP TABLE fleet_kinds")
