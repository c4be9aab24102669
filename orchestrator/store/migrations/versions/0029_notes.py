"""Notes about jobs and campaigns, and filters that are kept by name.

The release before neither writes nor reads them.
"""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE notes (
            id text PRIMARY KEY,
            tenant text NOT NULL,
            about text NOT NULL,
            body text NOT NULL,
            author text NOT NULL,
            written_by text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT cogmill_now()
        )
    """)
    op.execute("CREATE INDEX notes_about ON notes (tenant, about, id)")
    op.execute("""
        CREATE TABLE saved_filters (
            tenant text NOT NULL,
            name text NOT NULL,
            filter jsonb NOT NULL,
            author text NOT NULL,
            saved_by text NOT NULL,
            saved_at timestamptz NOT NULL DEFAULT cogmill_now(),
            PRIMARY KEY (tenant, name)
        )
    """)
    for table in ("notes", "saved_filters"):
        op.execute(
            f"CREATE TRIGGER refuse_erased AFTER INSERT ON {table} REFERENCING NEW TABLE AS added "
            "FOR EACH STATEMENT EXECUTE FUNCTION cogmill_refuse_erased()"
        )


def downgrade() -> None:
    op.execute("DROP TABLE saved_filters")
    op.execute("DROP TABLE notes")
