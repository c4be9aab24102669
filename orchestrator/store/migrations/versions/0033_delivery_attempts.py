"""Of each webhook delivery its attempts: when, for how long, and what was answered or why nothing was.

What the release before tries it counts, and writes none of it here. Attempts go with their delivery whoever deletes
it, the release before too, which knows nothing of them.
"""

from __future__ import annotations

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_FORGET = """
    CREATE FUNCTION cogmill_forget_delivery_attempts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM delivery_attempts AS a USING gone WHERE a.tenant = gone.tenant AND a.delivery = gone.id;
        RETURN NULL;
    END $$
"""


def upgrade() -> None:
    op.execute("""
        CREATE TABLE delivery_attempts (
            tenant text NOT NULL,
            delivery uuid NOT NULL,
            number integer NOT NULL,
            at timestamptz NOT NULL,
            seconds double precision NOT NULL,
            status integer,
            error text,
            PRIMARY KEY (tenant, delivery, number),
            CONSTRAINT delivery_attempts_met CHECK (num_nonnulls(status, error) >= 1)
        )
    """)
    op.execute(_FORGET)
    op.execute(
        "CREATE TRIGGER deliveries_gone AFTER DELETE ON deliveries REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION cogmill_forget_delivery_attempts()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER deliveries_gone ON deliveries")
    op.execute("DROP FUNCTION cogmill_forget_delivery_attempts")
    op.execute("DROP TABLE delivery_attempts")
