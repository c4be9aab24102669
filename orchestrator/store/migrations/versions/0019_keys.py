"""What a key may do, from where and until when; who made it, what took its place, and when it was last used.

The release before reads none of it: it honours revocations, and refuses the keys that this one makes, since their
secrets end in a checksum.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE keys
            ADD COLUMN scopes text[],
            ADD COLUMN allow text[] NOT NULL DEFAULT '{}',
            ADD COLUMN expires_at timestamptz,
            ADD COLUMN last_used_at timestamptz,
            ADD COLUMN made_by text,
            ADD COLUMN replaced_by text
    """)
    op.execute("CREATE INDEX keys_tenant ON keys (tenant)")
    op.execute("CREATE INDEX keys_made_by ON keys (made_by) WHERE made_by IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX keys_made_by")
    op.execute("DROP INDEX keys_tenant")
    op.execute("""
        ALTER TABLE keys DROP COLUMN scopes, DROP COLUMN allow, DROP COLUMN expires_at, DROP COLUMN last_used_at,
            DROP COLUMN made_by, DROP COLUMN replaced_by
    """)
