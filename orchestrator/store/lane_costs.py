"""What a lane's jobs are charged, by the first of them: the index counts a million without their rows."""

from __future__ import annotations

# What a lane is charged for a job until it has ended. Rows of earlier releases have no charge but their cost.
CHARGE = "coalesce(charge, cost)"
# So many of a lane are read.
_FIRST = 50


def first_of_lane(what: str) -> str:
    """A lateral table of one row: these aggregates over `j`, the first jobs of the lane of `l`."""
    return f"""(
        SELECT {what} FROM (
            SELECT {CHARGE} AS charge, j.campaign, j.created_at, j.run_at FROM jobs AS j
            WHERE j.ready AND j.pool = l.pool AND j.priority = l.priority AND j.tenant = l.tenant
            ORDER BY j.pool, j.priority, j.tenant, j.deadline, j.id LIMIT {_FIRST}) AS j)"""
