"""`cogmill keys`: API keys, of any tenant in the database, or of one's own through the API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands import keys_by_api as by_api
from orchestrator.commands import own_keys
from orchestrator.commands.administration import ApiOption, over_api
from orchestrator.commands.connection import UseOption
from orchestrator.commands.options import DataDirOption, settings_of, with_store
from orchestrator.commands.tenants import tenant_name
from orchestrator.commands.times import moment, seconds
from orchestrator.domain.errors import CogmillError, InvalidField

if TYPE_CHECKING:
    from orchestrator.domain.rights import Rights
    from orchestrator.ports import ApiKey
    from orchestrator.store import Store

# The rest is imported by the command that needs it, as in orchestrator.cli.

keys = typer.Typer(help="API keys.", no_args_is_help=True)


def _key_name(text: str) -> str:
    from orchestrator.tenants.issuing import check_name

    try:
        check_name(text)
    except InvalidField as error:
        raise typer.BadParameter(error.message) from None
    return text


_Tenant = Annotated[str | None, typer.Argument(parser=tenant_name, metavar="TENANT")]
_Mine = Annotated[
    bool, typer.Option("--mine", help="Of your own tenant, through the API, with the key of your profile.")
]
_Expires = Annotated[
    datetime | None,
    typer.Option("--expires", parser=moment, metavar="90d|DATE|TIME", help="From then on it is good for nothing."),
]


@keys.command("create")
def create_key(
    tenant: _Tenant = None,
    name: Annotated[str, typer.Option(help="What it is for.", parser=_key_name, metavar="TEXT")] = "",
    scopes: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE,...", help="What it may do.", show_default="all that concerns the tenant alone"),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK", help="In CIDR: where it may be used from; repeat it for several."),
    ] = None,
    expires: _Expires = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="Also the scope `operate`: pause pools, see why workers fail.")
    ] = False,
    role: Annotated[
        str | None,
        typer.Option(metavar="viewer|operator|admin", help="Also an administrator's scopes; without --scopes, alone."),
    ] = None,
    mine: _Mine = False,
    use: UseOption = None,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a key of TENANT and print it; the tenant is made if it is new. With --mine it is like your own, or less."""
    words = _words(scopes)
    if mine or use is not None:
        if tenant is not None or operator or role is not None or api is not None:
            raise typer.BadParameter("your own key makes keys of its own tenant, and is asked for scopes by name")
        own_keys.create(use, name=name, scopes=words, allow=allow, expires=expires)
        return
    if tenant is None:
        raise typer.BadParameter("name one, or say --mine", param_hint="TENANT")
    if over_api(api, data_dir):
        if operator:
            raise typer.BadParameter("through the API, say --role operator", param_hint="--operator")
        by_api.create(api, tenant, name=name, role=role, scopes=words, allow=allow, expires=expires)
        return
    rights = _rights(words, allow or (), expires, operator=operator, role=role)
    made_of = tenant

    from orchestrator.tenants import keys as form

    settings = settings_of(data_dir)
    master = settings.needed_ring.newest
    whole = form.issue(master.key, key_id := form.new_id())
    with_store(settings, lambda store: store.add_key(key_id, made_of, name, rights=rights, master=master.generation))
    typer.echo(whole)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Argument()] = None,
    mine: _Mine = False,
    use: UseOption = None,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the keys of TENANT or of everybody, without their secrets."""
    if mine or use is not None:
        if tenant is not None:
            raise typer.BadParameter("your own key lists the keys of its own tenant", param_hint="TENANT")
        own_keys.show(use)
        return
    if over_api(api, data_dir):
        by_api.show(api, tenant)
        return
    for key in with_store(settings_of(data_dir), lambda store: store.list_keys(tenant)):
        typer.echo(line(key))


@keys.command("rotate")
def rotate_key(
    key_id: str,
    overlap: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="24h",
            help="For how long the old key goes on beside the new one.",
            show_default="24h",
        ),
    ] = None,
    expires: _Expires = None,
    mine: _Mine = False,
    use: UseOption = None,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a key in the place of another, by its id, and print it; it may what that one may."""
    known = _id(key_id)
    if mine or use is not None:
        own_keys.rotate(use, known, overlap_s=overlap, expires=expires)
        return
    if over_api(api, data_dir):
        by_api.rotate(api, known, overlap_s=overlap, expires=expires)
        return

    from orchestrator.ports import Successor
    from orchestrator.tenants import keys as form
    from orchestrator.tenants.issuing import OVERLAP_S, succeed

    settings, now = settings_of(data_dir), datetime.now(UTC)
    master = settings.needed_ring.newest
    whole = form.issue(master.key, fresh := form.new_id())
    overlap_s = OVERLAP_S if overlap is None else overlap

    def draft(old: ApiKey, _: ApiKey | None) -> Successor:
        return succeed(old, fresh, now, overlap_s=overlap_s, expires_at=expires, master=master.generation)

    if with_store(settings, lambda store: store.replace_key(known, draft)) is None:
        raise CogmillError(f"no key has the id {known!r}")
    typer.echo(whole)


@keys.command("revoke")
def revoke_key(
    key_id: str,
    descendants: Annotated[
        bool, typer.Option("--descendants", help="Also the keys that it made, and those that these made.")
    ] = False,
    mine: _Mine = False,
    use: UseOption = None,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Revoke a key for good, by its id (the part before the dot)."""
    known = _id(key_id)
    if mine or use is not None:
        own_keys.revoke(use, known, descendants=descendants)
        return
    if over_api(api, data_dir):
        by_api.revoke(api, known, descendants=descendants)
        return

    async def revoke(store: Store) -> bool:
        revoked = await store.revoke_key(known)
        return bool(await store.revoke_made_by(known)) or revoked if descendants else revoked

    if not with_store(settings_of(data_dir), revoke):
        raise CogmillError(f"no valid key has the id {known!r}")


def _id(key: str) -> str:
    """Of a key, or of its id; or of a person, who may have made some."""
    return key if ":" in key else key.split(".")[0]


def _words(scopes: Iterable[str] | None) -> list[str] | None:
    return None if scopes is None else [word.strip() for each in scopes for word in each.split(",")]


def _rights(
    scopes: list[str] | None, allow: Iterable[str], expires: datetime | None, *, operator: bool, role: str | None
) -> Rights:
    from orchestrator.domain.callers import read_networks
    from orchestrator.domain.rights import USUAL, Rights, read_role, read_scopes, scopes_of, with_operators
    from orchestrator.tenants.issuing import check_rights

    try:
        known = None if role is None else read_role(role)
        named = scopes_of(known, None if scopes is None else read_scopes(scopes), usual=USUAL)
        rights = Rights(scopes=with_operators(named, operator=operator), allow=read_networks(allow), expires_at=expires)
        return check_rights(rights, datetime.now(UTC))
    except InvalidField as error:
        raise typer.BadParameter(error.message, param_hint=_OPTIONS.get(error.param or "")) from None


_OPTIONS = {"role": "--role", "scopes": "--scopes", "allow": "--allow", "expires_at": "--expires"}


def line(key: ApiKey) -> str:
    """A key, without its secret."""
    rights = key.rights
    cells: list[Any] = [key.id, key.tenant, f"{key.created_at:%Y-%m-%d %H:%M}", state(key, datetime.now(UTC))]
    cells.append(f"used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used")
    cells.append(",".join(sorted(rights.scopes)) or "nothing")
    cells += [f"from {','.join(map(str, rights.allow))}"] if rights.allow else []
    return "  ".join(map(str, (*cells, key.name))).rstrip()


def state(key: ApiKey, now: datetime) -> str:
    """In words, whether a key is good."""
    from orchestrator.domain.rights import Standing

    expires_at = key.rights.expires_at
    match key.standing(now):
        case Standing.REVOKED:
            return f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
        case Standing.EXPIRED:
            return f"expired {expires_at:%Y-%m-%d %H:%M}"
        case Standing.GOOD:
            return "valid" if expires_at is None else f"valid until {expires_at:%Y-%m-%d %H:%M}"
