"""Who may do what in the database: a login for each process, and what each may do with each table.

A deployment may go on with one URL for all. Where it has these roles, each process has a URL of its own, and the
migration's owns the tables. Nobody ever says SET ROLE: behind a pooler that would be the next one's role, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.config.logins import Login, names

_API, _DISPATCH, _MAINTAIN, _CLUSTERS = Login

_ALL = "SELECT, INSERT, UPDATE, DELETE"
_WRITTEN = "SELECT, INSERT, UPDATE"
# What a row lock takes (PostgreSQL: SELECT, "The Locking Clause") of a table that is only read: the right to write a
# column that can have one value only.
_PROBED = "SELECT, UPDATE (singleton)"

# A line for each table: who may what, in SQL's own words. Who is not named may nothing, and the migration everything.
# The dispatcher has columns of what tells about tenants: whoever holds Ray's token has its URL (SECURITY.md). A column
# that it comes to need is named here; the others have those to come, too. After a change here `cogmill migrate` gives
# what is new. It takes nothing away, since processes of the release before go on meanwhile: `cogmill database roles`
# shows what is left over.
GRANTS: Mapping[str, Mapping[Login, str]] = {
    "alembic_version": dict.fromkeys(Login, "SELECT"),
    "attempts": {
        _API: "SELECT",
        _DISPATCH: "SELECT (job_id, token), INSERT",
        _MAINTAIN: "SELECT, INSERT, DELETE",
    },
    # Whoever changes what administrators guard writes it down; the maintainer seals it.
    "audit": {_API: "SELECT, INSERT", _MAINTAIN: _ALL},
    "audit_checkpoints": {_MAINTAIN: _ALL},
    "audit_seals": {_MAINTAIN: _ALL},
    "batch_items": {_MAINTAIN: "SELECT, DELETE"},
    "batches": {_API: _WRITTEN, _MAINTAIN: "SELECT, UPDATE, DELETE"},
    "budgets": {_API: _ALL, _MAINTAIN: "SELECT, DELETE"},
    "bulk_actions": {_API: _WRITTEN, _MAINTAIN: "SELECT, UPDATE, DELETE"},
    "campaign_bad_rows": {_API: "SELECT", _MAINTAIN: "SELECT, INSERT, DELETE"},
    "campaign_jobs": {
        _API: "SELECT, DELETE",
        _DISPATCH: "SELECT (campaign, job_id)",
        _MAINTAIN: _ALL,
    },
    "campaign_passes": {_API: _WRITTEN, _MAINTAIN: _ALL},
    "campaign_progress": {_API: "SELECT", _MAINTAIN: _ALL},
    "campaign_rows": {_API: "SELECT, UPDATE", _MAINTAIN: _ALL},
    "campaigns": {
        _API: _WRITTEN,
        _DISPATCH: "SELECT (id, number, state, priority, rows, succeeded, failed, cancelled, dropped, waived, "
        "estimate, run_at, deadline, ended_at)",
        _MAINTAIN: _ALL,
    },
    "console_sessions": {_API: _ALL, _MAINTAIN: "SELECT, DELETE"},
    "dead_letters": {_API: _WRITTEN, _MAINTAIN: "SELECT, DELETE"},
    "deliveries": {_API: _WRITTEN, _MAINTAIN: _ALL},
    "delivery_attempts": {_API: "SELECT", _MAINTAIN: "SELECT, INSERT, DELETE"},
    "deployment": {_API: _PROBED, _DISPATCH: _PROBED, _MAINTAIN: _PROBED},
    "dispatchers": {_DISPATCH: _WRITTEN},
    "erasure_rest": {_MAINTAIN: _ALL},
    # Read, too, by whoever adds to a table with the fence: its trigger looks here as whoever adds.
    "erasures": {_API: "SELECT, INSERT", _MAINTAIN: "SELECT, UPDATE"},
    "files": {_API: _WRITTEN, _MAINTAIN: _ALL},
    "fleet_kinds": {_API: "SELECT", _DISPATCH: _ALL, _MAINTAIN: "SELECT", _CLUSTERS: "SELECT (cluster, told_at)"},
    "flow_clock": {_MAINTAIN: _WRITTEN},
    "flow_samples": {_API: "SELECT", _MAINTAIN: _ALL},
    "forecasts": {_API: "SELECT", _MAINTAIN: "SELECT, INSERT, DELETE"},
    "gpu_samples": {_API: "SELECT", _MAINTAIN: _ALL},
    "inputs": {_API: _WRITTEN, _MAINTAIN: _ALL},
    "jobs": {
        _API: _ALL,
        _DISPATCH: "SELECT (id, tenant, pool, priority, state, ready, cost, charge, max_attempts, claims, failures, "
        "evictions, step, token, cluster, worker, incarnation, claimed_at, created_at, run_at, deadline, started_at, "
        "finished_at, cancel_requested_at, spec, request, preview, checkpoint, campaign, quiet, avoid, avoid_until, "
        "trace), "
        "UPDATE (state, ready, claims, failures, evictions, step, stage, token, cluster, worker, incarnation, "
        "claimed_at, run_at, started_at, finished_at, failure, result, preview, incidents, checkpoint, avoid, "
        "avoid_until)",
        _MAINTAIN: _ALL,
        _CLUSTERS: "SELECT (cluster, state)",
    },
    "keys": {_API: _WRITTEN, _MAINTAIN: "SELECT (id, tenant), DELETE"},
    "lane_forecasts": {_API: "SELECT", _MAINTAIN: "SELECT, INSERT, DELETE"},
    "lanes": {
        _API: "SELECT, INSERT, UPDATE (weight)",
        _DISPATCH: "SELECT, UPDATE (vtime, served, cursor_deadline, cursor_id, cursor_at, active)",
        _MAINTAIN: "SELECT, INSERT, UPDATE (vtime), DELETE",
    },
    "leaders": {_MAINTAIN: _WRITTEN},
    "learned_ratios": {_API: "SELECT", _DISPATCH: _WRITTEN, _MAINTAIN: "SELECT, DELETE"},
    "notes": {_API: "SELECT, INSERT, DELETE", _MAINTAIN: "SELECT, DELETE"},
    "outbox": {
        _API: "SELECT, INSERT",
        _DISPATCH: "INSERT (job_id, tenant, event, webhook_url, trace)",
        # Nobody writes an id that the database gives: the lock of who announces it.
        _MAINTAIN: "SELECT, INSERT, UPDATE (id), DELETE",
    },
    "parked": {_API: "SELECT, DELETE", _MAINTAIN: _ALL},
    "pauses": {_API: _WRITTEN, _DISPATCH: "SELECT", _MAINTAIN: "SELECT"},
    "quarantines": {_API: "SELECT", _DISPATCH: "SELECT, INSERT", _MAINTAIN: "SELECT, DELETE"},
    "ray_clusters": {
        _API: "SELECT",
        _DISPATCH: "SELECT (name, state, grace_s, version, since, gives), UPDATE (obeyed, hosts)",
        _MAINTAIN: "SELECT",
        _CLUSTERS: _ALL,
    },
    "review_entries": {_API: "SELECT, INSERT, DELETE", _MAINTAIN: "SELECT, DELETE"},
    "reviews": {_API: _WRITTEN, _MAINTAIN: "SELECT, DELETE"},
    "saved_filters": {_API: _ALL, _MAINTAIN: "SELECT, DELETE"},
    "scale_decisions": {_API: "SELECT", _DISPATCH: "SELECT, INSERT, DELETE"},
    "shares": {_API: _ALL, _DISPATCH: "SELECT", _MAINTAIN: "SELECT, DELETE"},
    "spending": {_API: "SELECT, UPDATE", _MAINTAIN: _ALL},
    "stored": {_API: "SELECT", _MAINTAIN: _ALL},
    "stored_changes": {_API: "SELECT, INSERT", _MAINTAIN: _ALL},
    "tenants": {_API: _WRITTEN, _DISPATCH: "SELECT (name, running)", _MAINTAIN: "SELECT, DELETE"},
    # How much was used is never changed. With its tenant it is erased, or loses the tenant's name and its job's.
    "usage": {
        _API: "SELECT",
        _DISPATCH: "INSERT",
        _MAINTAIN: "SELECT, INSERT, UPDATE (tenant, campaign, job_id), DELETE",
    },
    "webhook_endpoints": {_API: _ALL, _MAINTAIN: "SELECT, UPDATE (disabled_at), DELETE"},
    "worker_loads": {
        _API: "SELECT",
        _DISPATCH: _ALL,
        _MAINTAIN: "SELECT",
        _CLUSTERS: "SELECT (cluster, pool, state, told_at)",
    },
    "worker_orders": {_API: _ALL, _DISPATCH: "SELECT, DELETE", _MAINTAIN: "SELECT, DELETE"},
    "worker_time": {_API: "SELECT", _DISPATCH: _WRITTEN, _MAINTAIN: "SELECT"},
    "workers": {_API: "SELECT", _DISPATCH: _WRITTEN, _MAINTAIN: "SELECT, UPDATE (alive), DELETE"},
}

_PRIVILEGE = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)(?: \(([a-z0-9_, ]+)\))?(?:, |$)")


@dataclass(frozen=True, slots=True)
class Privilege:
    """One verb that a login has on one table."""

    table: str
    verb: str
    # None: the whole table, with the columns to come.
    columns: tuple[str, ...] | None

    def granted_to(self, role: str) -> str:
        """The SQL that gives it."""
        columns = "" if self.columns is None else f" ({', '.join(self.columns)})"
        return f"GRANT {self.verb}{columns} ON {self.table} TO {quoted(role)}"

    def __str__(self) -> str:
        columns = "" if self.columns is None else f" ({', '.join(self.columns)})"
        return f"{self.verb}{columns} on {self.table}"


def privileges(login: Login) -> Iterator[Privilege]:
    """All that a login has."""
    for table, given in GRANTS.items():
        for verb, columns in _PRIVILEGE.findall(given.get(login, "")):
            yield Privilege(table, verb, tuple(columns.split(", ")) if columns else None)


def creating(deployment: str, database: str) -> Sequence[str]:
    """Statements for who may create roles, to be repeated at will: the logins, without passwords, and their way in."""
    roles = names(deployment).values()
    everybody = ", ".join(map(quoted, roles))
    return (
        *(_login(role) for role in roles),
        f"GRANT CONNECT ON DATABASE {quoted(database)} TO {everybody}",
        f"GRANT USAGE ON SCHEMA public TO {everybody}",
        # As PostgreSQL has it since 15: else each of them could put functions where others look for theirs.
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )


def _login(role: str) -> str:
    options = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    there = f"SELECT FROM pg_roles WHERE rolname = {literal(role)}"
    return f"DO $$ BEGIN IF NOT EXISTS ({there}) THEN CREATE ROLE {quoted(role)} {options}; END IF; END $$"


def quoted(name: str) -> str:
    """An identifier as SQL takes any."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL takes any."""
    return "'" + text.replace("'", "''") + "'"
