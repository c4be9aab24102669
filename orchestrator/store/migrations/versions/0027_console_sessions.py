"""Who is signed in to the console."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE console_sessions (
            id text PRIMARY KEY,
            holder text NOT NULL,
            tenant text NOT NULL,
            issuer text,
            name text NOT NULL DEFAULT '',
            scopes text[],
            master integer NOT NULL,
            sign_in text UNIQUE,
            created_at timestamptz NOT NULL DEFAULT cogmill_now(),
            used_at timestamptz NOT NULL DEFAULT cogmill_now(),
            expires_at timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX console_sessions_holder ON console_sessions (holder)")
    op.execute("CREATE INDEX console_sessions_expires ON console_sessions (expires_at)")
    # As in the migration 0026: none begins for a tenant that is being erased.
    op.execute(
        "CREATE TRIGGER refuse_erased AFTER INSERT ON console_sessions REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION cogmill_refuse_erased()"
    )


def downgrade() -> None:
    op.execute("DROP TABLE console_sessions")
