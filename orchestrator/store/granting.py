"""Gives the roles of a deployment what they need, and says what they have: `roles.py` says what that is."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Connection, Row, Text, bindparam, text

from orchestrator.config.database import Access
from orchestrator.config.logins import Login, names
from orchestrator.store.errand import with_connection
from orchestrator.store.roles import Privilege, creating, literal, privileges, quoted

_NAMED = bindparam("roles", type_=ARRAY(Text))
_THERE = text("SELECT rolname FROM pg_roles WHERE rolname = ANY (:roles)").bindparams(_NAMED)

# Of what was asked for that which is not there. A table that is not there yet is the schema's affair.
_MISSING = text("""
    SELECT asked.role, asked.name, asked.verb, asked.col
    FROM unnest(:roles, :names, :verbs, :cols) AS asked(role, name, verb, col)
    JOIN pg_class AS c ON c.oid = to_regclass(asked.name)
    WHERE NOT CASE WHEN asked.col IS NULL THEN has_table_privilege(asked.role, c.oid, asked.verb)
              ELSE coalesce(has_column_privilege(asked.role, c.oid, asked.col, asked.verb), false) END
""").bindparams(_NAMED, *(bindparam(name, type_=ARRAY(Text)) for name in ("names", "verbs", "cols")))

# All that roles may do with the tables of our schema, and whether they may make things in it.
_HELD = text("""
    SELECT r.role, c.relname AS name, v.verb, NULL AS col
    FROM unnest(:roles) AS r(role)
    CROSS JOIN unnest(:of_tables) AS v(verb)
    JOIN pg_class AS c ON c.relnamespace = current_schema()::regnamespace AND CAST(c.relkind AS text) = ANY (:kinds)
    WHERE has_table_privilege(r.role, c.oid, v.verb)
    UNION ALL
    SELECT r.role, c.relname, v.verb, a.attname
    FROM unnest(:roles) AS r(role)
    CROSS JOIN unnest(:of_columns) AS v(verb)
    JOIN pg_class AS c ON c.relnamespace = current_schema()::regnamespace AND CAST(c.relkind AS text) = ANY (:kinds)
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE has_column_privilege(r.role, c.oid, a.attnum, v.verb) AND NOT has_table_privilege(r.role, c.oid, v.verb)
    UNION ALL
    SELECT r.role, current_schema(), :create, NULL FROM unnest(:roles) AS r(role)
    WHERE has_schema_privilege(r.role, current_schema(), :create)
""").bindparams(
    _NAMED,
    bindparam("of_tables", ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"], ARRAY(Text)),
    bindparam("of_columns", ["SELECT", "INSERT", "UPDATE", "REFERENCES"], ARRAY(Text)),
    bindparam("create", "CREATE", Text),
    # Tables, those in parts, views, and those that are kept (PostgreSQL: pg_class).
    bindparam("kinds", ["r", "p", "v", "m"], ARRAY(Text)),
)

# Whoever owns a table does with it what he likes.
_ME = text("""
    SELECT current_user AS name, current_database() AS database,
           (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
           OR EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema()
                      AND pg_has_role(tableowner, 'USAGE')) AS owns
""")

_FUNCTIONS = text("""
    SELECT oid::regprocedure::text AS signature FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'cogmill\\_%'
      AND NOT has_function_privilege(:role, oid, 'EXECUTE')
""")


@dataclass(frozen=True, slots=True)
class RoleStanding:
    """How a role stands: what it lacks, and what it has beyond its needs."""

    name: str
    login: Login
    there: bool
    lacks: Sequence[Privilege] = ()
    spare: Sequence[Privilege] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How the roles of a deployment stand, and who asks."""

    user: str
    # May do everything with the tables, as whoever made them.
    owns: bool
    roles: Sequence[RoleStanding]
    # What the one who asks would lack, were it the only role.
    lacks: Sequence[Privilege]


def grant(connection: Connection, deployment: str | None) -> list[str]:
    """Give those roles that there are what they lack. The names of those that got something."""
    named = names(deployment or connection.execute(_ME).one().database)
    given = []
    for login, role in _there(connection, named).items():
        lacking = _missing(connection, role, privileges(login))
        functions = connection.execute(_FUNCTIONS, {"role": role}).scalars().all()
        for privilege in lacking:
            connection.exec_driver_sql(privilege.granted_to(role))
        for signature in functions:
            connection.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {signature} TO {quoted(role)}")
        if lacking or functions:
            given.append(role)
    return given


def provide(database: str | Access, passwords: Mapping[Login, str]) -> None:
    """Make roles that log in with these passwords, as one who may. Raises `StoreUnavailable`. Call outside a loop."""
    access = Access.to(database)

    def make(connection: Connection) -> None:
        here = connection.execute(_ME).one().database
        deployment = access.roles or here
        for statement in creating(deployment, here):
            connection.exec_driver_sql(statement)
        named = names(deployment)
        for login, password in passwords.items():
            connection.exec_driver_sql(f"ALTER ROLE {quoted(named[login])} PASSWORD {literal(password)}")
        connection.commit()

    asyncio.run(with_connection(access, make))


def standing(database: str | Access) -> Standing:
    """How the roles stand now; any role may ask. Raises `StoreUnavailable`. Call it outside a loop."""
    access = Access.to(database)

    def look(connection: Connection) -> Standing:
        me = connection.execute(_ME).one()
        named = names(access.roles or me.database)
        there = _there(connection, named)
        held = _held(connection, list(there.values()))
        everything = {str(each): each for login in Login for each in privileges(login)}.values()
        return Standing(
            user=me.name,
            owns=me.owns,
            roles=[
                RoleStanding(
                    role,
                    login,
                    there=login in there,
                    lacks=_missing(connection, role, privileges(login)) if login in there else (),
                    spare=_beyond(held[role], login),
                )
                for login, role in named.items()
            ],
            lacks=_missing(connection, me.name, everything),
        )

    return asyncio.run(with_connection(access, look))


def _there(connection: Connection, named: Mapping[Login, str]) -> dict[Login, str]:
    found = set(connection.execute(_THERE, {"roles": list(named.values())}).scalars())
    return {login: role for login, role in named.items() if role in found}


def _missing(connection: Connection, role: str, wanted: Iterable[Privilege]) -> list[Privilege]:
    """Those of these privileges that a role lacks, each with the columns that it lacks."""
    asked = [(each, column) for each in wanted for column in each.columns or (None,)]
    found = connection.execute(
        _MISSING,
        {
            "roles": [role] * len(asked),
            "names": [each.table for each, _ in asked],
            "verbs": [each.verb for each, _ in asked],
            "cols": [column for _, column in asked],
        },
    )
    return _gathered(found)


def _held(connection: Connection, roles: Sequence[str]) -> Mapping[str, list[Privilege]]:
    rows: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(_HELD, {"roles": roles}):
        rows[row.role].append(row)
    return defaultdict(list, {role: _gathered(of_role) for role, of_role in rows.items()})


def _gathered(rows: Iterable[Row[Any]]) -> list[Privilege]:
    """One privilege for each table and verb, with all its columns."""
    columns: dict[tuple[str, str], list[str] | None] = {}
    for row in rows:
        if row.col is None:
            columns[row.name, row.verb] = None
        elif (known := columns.setdefault((row.name, row.verb), [])) is not None:
            known.append(row.col)
    return [Privilege(table, verb, None if of is None else tuple(of)) for (table, verb), of in columns.items()]


def _beyond(held: Iterable[Privilege], login: Login) -> list[Privilege]:
    """What of these is not said in `GRANTS`."""
    needed = {(each.table, each.verb): each.columns for each in privileges(login)}
    beyond = []
    for each in held:
        if (each.table, each.verb) not in needed:
            beyond.append(each)
            continue
        columns = needed[each.table, each.verb]
        if columns is None:
            continue
        spare = None if each.columns is None else tuple(name for name in each.columns if name not in columns)
        if spare is None or spare:
            beyond.append(Privilege(each.table, each.verb, spare))
    return beyond
