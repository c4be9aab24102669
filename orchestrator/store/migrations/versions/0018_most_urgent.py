"""The most urgent priority that a tenant may ask for.

Until now every tenant could ask for any. Whoever did keeps what it has used, and is told.
"""

from __future__ import annotations

import sys

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# That of a request that says nothing, and so what tenants may have from now on unless the configuration says otherwise.
_USUAL = 10

# A batch is a row of campaigns, too. Lanes stay when their jobs are swept.
_USED = f"""
    SELECT tenant, min(priority) AS most_urgent FROM (
        SELECT tenant, priority FROM jobs
        UNION ALL SELECT tenant, priority FROM lanes
        UNION ALL SELECT tenant, priority FROM campaigns
    ) AS used
    WHERE priority BETWEEN 0 AND {_USUAL - 1}
    GROUP BY tenant ORDER BY tenant
"""
_KEEP = """
    INSERT INTO tenants (name, most_urgent) VALUES (:tenant, :most_urgent)
    ON CONFLICT (name) DO UPDATE SET most_urgent = excluded.most_urgent
"""


def upgrade() -> None:
    # First what may take long: nobody waits for a table's lock meanwhile.
    used = op.get_bind().execute(sa.text(_USED)).all()
    op.execute("""
        ALTER TABLE tenants
            ADD COLUMN most_urgent smallint,
            ADD CONSTRAINT tenants_most_urgent CHECK (most_urgent BETWEEN 0 AND 100)
    """)
    for tenant, most_urgent in used:
        op.get_bind().execute(sa.text(_KEEP), {"tenant": tenant, "most_urgent": most_urgent})
        sys.stdout.write(
            f"tenant {tenant} has used priority {most_urgent} and may go on: "
            f"`cogmill tenants limit {tenant} --most-urgent default` ends that\n"
        )


def downgrade() -> None:
    op.execute("ALTER TABLE tenants DROP COLUMN most_urgent")
