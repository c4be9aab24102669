"""`cogmill database`: the roles that processes may log in as, and how each stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.store.granting import Standing

# The rest is imported by the command that needs it, as in orchestrator.cli.

database = typer.Typer(help="Roles in the database, one for each process.", no_args_is_help=True)


@database.callback()
def root() -> None:
    """Roles in the database, one for each process."""


@database.command()
def roles(
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL that makes them, for who may.")] = False,
    deployment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What their names begin with.", show_default="database_roles"),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show the role of each process: whether it is there, what it lacks, and what it may beyond its needs."""
    from orchestrator.config.logins import check_deployment

    settings = settings_of(data_dir)
    try:
        named = None if deployment is None else check_deployment(deployment)
    except ValueError as error:
        raise ConfigError(f"--deployment: {error}") from None
    if sql:
        typer.echo(_script(settings, named))
        return
    from dataclasses import replace

    from orchestrator.store.granting import standing

    access = settings.database
    _show(standing(access if named is None else replace(access, roles=named)))


def _script(settings: Settings, asked: str | None) -> str:
    """What a DBA runs with psql."""
    from orchestrator.config.logins import check_deployment, names
    from orchestrator.store.roles import creating

    name = settings.database.address.database
    if not name:
        raise ConfigError("database_url: it names no database, and the SQL has to")
    try:
        deployment = asked or settings.database_roles or check_deployment(name)
    except ValueError as error:
        raise ConfigError(f"the name of the database: {error}; say --deployment, and set database_roles") from None
    lines = [
        f"-- Roles for the processes of {deployment}, without passwords. Run it with psql, in {name}, as often as",
        "-- you like, as a role that may create roles. Then `cogmill migrate`, as the tables' owner, gives rights.",
    ]
    if deployment != (settings.database_roles or name):
        lines.append(f'-- The migration finds them where database_roles = "{deployment}" (COGMILL_DATABASE_ROLES).')
    lines += [f"{statement};" for statement in creating(deployment, name)]
    lines += ["-- Passwords, each asked for and sent as its hash:"]
    lines += [f'\\password "{role}"' for role in names(deployment).values()]
    return "\n".join(lines)


def _show(found: Standing) -> None:
    from orchestrator.commands.tables import table

    def said(privileges: Iterable[object]) -> str:
        return "; ".join(map(str, privileges)) or "-"

    rows = [
        (each.login, each.name, *(("yes", said(each.lacks), said(each.spare)) if each.there else ("no", "-", "-")))
        for each in found.roles
    ]
    table(("process", "role", "there", "lacks", "may beyond its needs"), rows)
    may = "may do everything with the tables: it is for the migration" if found.owns else "is not the tables' owner"
    typer.echo(f"This URL's role is {found.user}, which {may}.")
