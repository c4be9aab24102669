"""The settings `master_key` and `master_keys`, and the ring that they make together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, SecretStr, TypeAdapter, ValidationError

from orchestrator.config import placeholders
from orchestrator.config.section import Section
from orchestrator.domain.masters import FIRST, Master, Ring, check


class MasterKeySettings(Section):
    """One generation of the master key."""

    generation: Annotated[int, Field(ge=1, le=1_000_000)]
    key: SecretStr


_LISTED = TypeAdapter(list[MasterKeySettings])


def ring_of(master_key: SecretStr | None, master_keys: Sequence[MasterKeySettings]) -> Ring | None:
    """The ring: `master_keys` in their order, then `master_key`, unless it is among them. None where there is neither.

    Raises `ValueError`.
    """
    named = [
        (f"master_keys.{place}.key", Master(each.generation, each.key.get_secret_value()))
        for place, each in enumerate(master_keys)
    ]
    if master_key is not None:
        first = Master(FIRST, master_key.get_secret_value())
        if first not in (master for _, master in named):
            named.append(("master_key", first))
    placeholders.refuse({name: master.key for name, master in named})
    return check(named) if named else None


def parse_listed(text: str) -> list[MasterKeySettings]:
    """What a file `master_keys` says; an empty one lists none. Raises `ValueError`, which tells no key."""
    if not text.strip():
        return []
    try:
        return _LISTED.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, ('master_keys', *first['loc'])))}: {first['msg']}") from None
