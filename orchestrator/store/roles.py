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
_ALL = tuple(Login)

# A line for each table: who may what, in SQL's own words. An entry that is missing is a right that is not given.
# `UPDATE (column)` of a column that nobody writes is what a row lock takes (PostgreSQL: SELECT, "The Locking Clause").
# After a change `cogmill migrate` gives what is new; what is not needed any more stays until somebody revokes it, since
# processes of the release before go on meanwhile.
GRANTS: Mapping[str, Mapping[Login, str]] = {}

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
