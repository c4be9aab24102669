"""`cogmill keys masters` and `retire-master`: what lives on each generation of the master key, and how one ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import keys
from orchestrator.commands.options import DataDirOption, settings_of, with_store
from orchestrator.commands.tables import table, visible
from orchestrator.domain.errors import CogmillError, Unavailable

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.domain.masters import Ring
    from orchestrator.ports import ApiKey
    from orchestrator.ports.masters import MasterUse, SignedManifest, SigningSecret
    from orchestrator.store import Store

# The rest is imported by the command that needs it, as in orchestrator.cli.

# A key that was used since then is in use.
_LATELY = timedelta(days=7)


def join(group: typer.Typer) -> None:
    """Put these beside the other commands about keys."""
    group.command("masters")(list_masters)
    group.command("retire-master")(retire_master)


def list_masters(data_dir: DataDirOption = None) -> None:
    """Show the generations of the master key, and how much lives on each."""
    settings = settings_of(data_dir)
    ring = settings.needed_ring

    async def read(store: Store) -> list[MasterUse]:
        return await store.masters_in_use()

    uses = {use.generation: use for use in with_store(settings, read)}
    table(
        ("generation", "ring", "keys", "webhook secrets", "last used"),
        [
            (generation, _place(ring, generation), use.keys if use else 0, use.secrets if use else 0, _day(use))
            for generation in (*ring.generations, *(each for each in uses if each not in ring.generations))
            for use in (uses.get(generation),)
        ],
    )


def _place(ring: Ring, generation: int) -> str:
    if generation not in ring.generations:
        return "missing"
    return "makes new ones" if generation == ring.newest.generation else "good"


def _day(use: MasterUse | None) -> str | None:
    return None if use is None or use.used_at is None else f"{use.used_at:%Y-%m-%d %H:%M}"


def retire_master(
    generation: Annotated[int, typer.Argument(min=1, help="As `cogmill keys masters` numbers them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it, once you have read what it ends.")] = False,
    descendants: Annotated[
        bool, typer.Option("--descendants", help="Also the keys that its keys made, as whoever stole it may have.")
    ] = False,
    data_dir: DataDirOption = None,
) -> None:
    """List what lives on a GENERATION of the master key: keys, webhook secrets, manifests. With --yes, end it: revoke
    the keys, rotate the secrets at once, and sign the manifests with the newest."""
    settings = settings_of(data_dir)
    ring = settings.needed_ring
    newest = ring.newest.generation
    if generation == newest:
        raise CogmillError(f"the generation {generation} makes new secrets: put another one before it in master_keys")
    lives = with_store(settings, lambda store: _living(store, ring, generation))
    lives.tell(descendants=descendants)
    if not lives.ends(descendants=descendants):
        typer.echo(f"Nothing lives on the generation {generation} any more. {_take_out(ring, generation)}")
        return
    if not yes:
        raise CogmillError(
            f"nothing was changed: --yes revokes these keys, rotates these secrets to the generation {newest} without"
            " an overlap, and signs these manifests with it. Every process must have that one first in its ring by now"
        )
    with_store(settings, lambda store: _end(store, lives, generation, newest, descendants=descendants))
    typer.echo("The keys are revoked, and the secrets rotated: who verifies deliveries needs the new ones.")
    _resign(settings, ring, generation)
    if with_store(settings, lambda store: _living(store, ring, generation)).ends(descendants=descendants):
        raise CogmillError(
            f"meanwhile something new came to live on the generation {generation}: a process whose ring does not begin "
            f"with the generation {newest} makes it. See to it that there is none, and do this again"
        )
    typer.echo(f"Nothing lives on the generation {generation} any more. {_take_out(ring, generation)}")


@dataclass(frozen=True)
class _Living:
    """What lives on a generation."""

    # That are good.
    keys: Sequence[ApiKey]
    secrets: Sequence[SigningSecret]
    manifests: Sequence[SignedManifest]
    # Keys of others that are good, and that its keys have made, or those have; and ids of the former that made any.
    made: Sequence[ApiKey]
    makers: Sequence[str]

    def ends(self, *, descendants: bool) -> bool:
        """Whether there is anything to end."""
        return bool(self.keys or self.secrets or self.manifests or (descendants and self.made))

    def tell(self, *, descendants: bool) -> None:
        """Print it."""
        since = datetime.now(UTC) - _LATELY
        lately = sum(key.last_used_at is not None and key.last_used_at > since for key in self.keys)
        _list(f"keys: {len(self.keys)}, of which {lately} were used within {_LATELY.days} days", _lines(self.keys))
        if self.made:
            fate = "" if descendants else ", which stay unless you say --descendants"
            _list(f"keys of others that these made: {len(self.made)}{fate}", _lines(self.made))
        _list(f"webhook secrets: {len(self.secrets)}", map(_secret_line, self.secrets))
        manifests = (f"{each.campaign}  revision {each.mark.revision}" for each in self.manifests)
        _list(f"manifests that it signed: {len(self.manifests)}", manifests)


async def _living(store: Store, ring: Ring, generation: int) -> _Living:
    from orchestrator.campaigns.resigning import signed_with
    from orchestrator.campaigns.signing import Signer
    from orchestrator.domain.rights import Standing

    now, listed = datetime.now(UTC), await store.list_keys()
    owned = {key.id for key in listed if key.master == generation}
    line = set(owned)
    for key in listed:  # by age: whoever made one comes before it
        if key.made_by in line:
            line.add(key.id)
    good = [key for key in listed if key.id in line and key.standing(now) is Standing.GOOD]
    master_key = ring.key_of(generation)
    return _Living(
        keys=[key for key in good if key.id in owned],
        secrets=await store.signing_secrets(generation),
        # Which manifests a key has signed, its public half tells, which only the key tells.
        manifests=[] if master_key is None else await signed_with(store, Signer(master_key).key_id),
        made=[key for key in good if key.id not in owned],
        makers=sorted(owned & {key.made_by for key in listed if key.made_by is not None}),
    )


async def _end(store: Store, lives: _Living, generation: int, newest: int, *, descendants: bool) -> None:
    retired = await store.retire_master(generation, successor=newest)
    # Also those that were no makers yet when they were listed: from here on they make nothing more.
    for maker in sorted({*lives.makers, *retired.keys}) if descendants else ():
        await store.revoke_made_by(maker)


def _list(head: str, lines: Iterable[str]) -> None:
    for line in (head, *(f"  {each}" for each in lines)):
        typer.echo(visible(line))


def _lines(listed: Iterable[ApiKey]) -> list[str]:
    return [keys.line(key) for key in sorted(listed, key=lambda key: (key.tenant, key.created_at))]


def _secret_line(secret: SigningSecret) -> str:
    what = [secret.tenant]
    what += ["for URLs that requests name"] if secret.endpoint_id is None else [secret.endpoint_id, str(secret.url)]
    what += [] if secret.until is None else [f"replaced, and signs until {secret.until:%Y-%m-%d %H:%M}"]
    what.append(f"last delivery {secret.sent_at:%Y-%m-%d %H:%M}" if secret.sent_at else "no delivery that is kept")
    return "  ".join((*what, secret.name or "")).rstrip()


def _resign(settings: Settings, ring: Ring, generation: int) -> None:
    from orchestrator.adapters.s3 import S3Objects
    from orchestrator.campaigns.resigning import resign
    from orchestrator.campaigns.signing import Signer

    master_key = ring.key_of(generation)
    if master_key is None:
        return
    key_id = Signer(master_key).key_id
    try:
        done = with_store(
            settings, lambda store: resign(store, S3Objects(settings.s3, settings.s3_files), ring, key_id)
        )
    except Unavailable as error:
        raise CogmillError(f"manifests could not be signed anew, so do this again: {error}") from error
    if done:
        typer.echo(f"{done} manifests are signed anew, with the key of the generation {ring.newest.generation}.")


def _take_out(ring: Ring, generation: int) -> str:
    if generation not in ring.generations:
        return "The ring does not hold it."
    return "Take it out of the ring: out of master_keys, or master_key where that is it."
