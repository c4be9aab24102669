"""What people think of videos, with the history of it; and how campaigns got on, minute by minute."""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE reviews (
            job_id uuid PRIMARY KEY,
            tenant text NOT NULL,
            campaign bigint,
            place integer,
            version integer NOT NULL DEFAULT 0,
            rating smallint,
            decision text,
            reason text,
            action text,
            reviewer text,
            decided_at timestamptz,
            applied_at timestamptz,
            applied_as uuid,
            held_by text,
            held_until timestamptz,
            CONSTRAINT reviews_rating CHECK (rating BETWEEN 1 AND 5),
            CONSTRAINT reviews_decision CHECK (decision IN ('approve', 'reject')),
            CONSTRAINT reviews_action CHECK (action IN ('new_seed', 'drop')),
            CONSTRAINT reviews_rejected_has_action CHECK (
                coalesce(decision = 'reject', false) = (action IS NOT NULL)),
            CONSTRAINT reviews_of_row CHECK ((campaign IS NULL) = (place IS NULL)),
            CONSTRAINT reviews_applied CHECK (applied_at IS NULL OR decision = 'reject')
        ) WITH (fillfactor = 90)
    """)
    op.execute("CREATE INDEX reviews_of_campaign ON reviews (campaign, place) WHERE campaign IS NOT NULL")
    op.execute("CREATE INDEX reviews_held ON reviews (campaign, held_by) WHERE held_by IS NOT NULL")
    op.execute("CREATE INDEX reviews_listing ON reviews (tenant, job_id) WHERE version > 0")
    op.execute("""
        CREATE TABLE review_entries (
            job_id uuid NOT NULL,
            number integer NOT NULL,
            tenant text NOT NULL,
            campaign bigint,
            kind text NOT NULL,
            version integer NOT NULL,
            back_to integer,
            rating smallint,
            decision text,
            reason text,
            action text,
            reviewer text NOT NULL,
            at timestamptz NOT NULL DEFAULT cogmill_now(),
            PRIMARY KEY (job_id, number),
            CONSTRAINT review_entries_kind CHECK (kind IN ('decided', 'refused', 'undone', 'applied'))
        )
    """)
    op.execute("CREATE INDEX review_entries_of_campaign ON review_entries (campaign) WHERE campaign IS NOT NULL")
    op.execute("CREATE INDEX review_entries_of_tenant ON review_entries (tenant)")
    op.execute("""
        CREATE TABLE campaign_progress (
            campaign bigint NOT NULL,
            at timestamptz NOT NULL,
            succeeded integer NOT NULL,
            failed integer NOT NULL,
            others integer NOT NULL,
            gpu_seconds double precision NOT NULL,
            PRIMARY KEY (campaign, at)
        ) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
                autovacuum_vacuum_cost_delay = 0)
    """)
    # As in the migration 0026: nothing is said for a tenant that is being erased.
    for table in ("reviews", "review_entries"):
        op.execute(
            f"CREATE TRIGGER refuse_erased AFTER INSERT ON {table} REFERENCING NEW TABLE AS added "
            "FOR EACH STATEMENT EXECUTE FUNCTION cogmill_refuse_erased()"
        )


def downgrade() -> None:
    op.execute("DROP TABLE campaign_progress")
    op.execute("DROP TABLE review_entries")
    op.execute("DROP TABLE reviews")
