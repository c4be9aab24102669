"""The seals of the audit log: what each covers, how it is keyed, and what a kept head says of all before it. Pure.

A seal holds the ids and digests of its entries and the link of the seal before it. Its head is an HMAC over all that:
without the key nobody can make another. Its link is a plain hash over the seal and its head: whoever has kept one knows
the whole log up to there, and is not deceived by a holder of the key, either.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from orchestrator.domain import canonical, jsontext
from orchestrator.domain.audit import VALUES, digest_of, moment
from orchestrator.domain.masters import Ring

# What the first seal goes on from.
START = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the audit log. What was erased of it has a digest, and neither value nor salt."""

    id: int
    at: datetime
    action: str
    outcome: str
    # Texts, by the names in `VALUES`.
    values: Mapping[str, str]
    salts: Mapping[str, str]
    digests: Mapping[str, str]
    # The number of its seal; None: it waits for one.
    seal: int | None = None

    @property
    def before(self) -> dict[str, Any] | None:
        """What has changed, as it was."""
        return self._document("before")

    @property
    def after(self) -> dict[str, Any] | None:
        """What has changed, as it is."""
        return self._document("after")

    @property
    def digest(self) -> str:
        """What its seal holds: of all that it says, erased or not."""
        said = {"id": self.id, "at": moment(self.at), "action": self.action, "outcome": self.outcome}
        return _hash({**said, "digests": self.digests})

    @property
    def erased(self) -> frozenset[str]:
        """The names of its values that are gone, with their salts."""
        return frozenset(name for name in self.digests if name not in self.salts and name not in self.values)

    def changed(self) -> list[str]:
        """The names of values that are not what was recorded."""
        return [name for name in VALUES if name not in self.erased and not self._as_recorded(name)]

    def _document(self, name: str) -> dict[str, Any] | None:
        """What a value says; whoever has changed it may have left no JSON there."""
        text = self.values.get(name)
        if text is None:
            return None
        try:
            value = jsontext.parse(text)
            canonical.text_of(value).encode()  # else it holds half a surrogate pair, which nobody can be shown
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {"not_json": text}

    def _as_recorded(self, name: str) -> bool:
        value, salt, digest = self.values.get(name), self.salts.get(name), self.digests.get(name)
        if value is None or salt is None or digest is None:
            return value is salt is digest is None
        try:
            return _same(digest_of(name, salt, value), digest)
        except ValueError:  # the salt is none
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One link of the chain."""

    number: int
    at: datetime
    # The link of the seal before it.
    previous: str
    # Of its entries, in the order of their ids.
    ids: Sequence[int]
    digests: Sequence[str]
    # Which key its head was made with.
    key: str = ""
    head: str = ""

    @property
    def link(self) -> str:
        """What stands for it, and so for all before it, in the next one, and in a head that is kept elsewhere."""
        return _hash({**self._said(), "key": self.key, "head": self.head})

    def _said(self) -> dict[str, Any]:
        entries = [[each, digest] for each, digest in zip(self.ids, self.digests, strict=True)]
        return {"number": self.number, "at": moment(self.at), "previous": self.previous, "entries": entries}

    def keyed(self, key: bytes) -> str:
        """Its head, made with this key."""
        return _keyed(key, "seal", self._said())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Vouches for a seal, and so for all before it, which may be gone: retention leaves one of what it deletes."""

    number: int
    at: datetime
    link: str
    # How many entries were deleted by then.
    entries: int
    key: str = ""
    signature: str = ""

    def keyed(self, key: bytes) -> str:
        """Its signature, made with this key."""
        said = {"number": self.number, "at": moment(self.at), "link": self.link, "entries": self.entries}
        return _keyed(key, "checkpoint", said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is kept elsewhere of a log: where its chain stood."""

    # The deployment's id.
    deployment: str
    number: int
    link: str


class Keys:
    """The keys of seals by their names, of which the first makes new ones.

    Each follows from a master key, so a log outlives the key that it was begun with as long as both are known once.
    """

    def __init__(self, masters: Sequence[str]) -> None:
        made = [hmac.digest(master.encode(), b"audit:seals", "sha256") for master in masters]
        self._keys = {sha256(key).hexdigest()[:16]: key for key in made}
        self.newest = next(iter(self._keys))

    @classmethod
    def of(cls, ring: Ring) -> Keys:
        """Those of all its generations."""
        return cls([master.key for master in ring.masters])

    def head_of(self, seal: Seal) -> str | None:
        """The head that a seal should have; None where its key is not among these."""
        key = self._keys.get(seal.key)
        return None if key is None else seal.keyed(key)

    def signature_of(self, checkpoint: Checkpoint) -> str | None:
        """The same of a checkpoint."""
        key = self._keys.get(checkpoint.key)
        return None if key is None else checkpoint.keyed(key)


def sealed(entries: Sequence[Entry], previous: Seal | Checkpoint | None, at: datetime, keys: Keys) -> Seal:
    """The seal of entries that have none, in the order of their ids, behind what is there."""
    bare = Seal(
        number=1 if previous is None else previous.number + 1,
        at=at,
        previous=START if previous is None else previous.link,
        ids=[entry.id for entry in entries],
        digests=[entry.digest for entry in entries],
        key=keys.newest,
    )
    return replace(bare, head=str(keys.head_of(bare)))


def checkpoint_at(seal: Seal, entries: int, at: datetime, keys: Keys) -> Checkpoint:
    """What is left when everything up to this seal is deleted."""
    bare = Checkpoint(number=seal.number, at=at, link=seal.link, entries=entries, key=keys.newest)
    return replace(bare, signature=str(keys.signature_of(bare)))


def is_genuine(end: Seal | Checkpoint, keys: Keys) -> bool:
    """Whether a holder of one of the keys has made it."""
    if isinstance(end, Seal):
        made, there = keys.head_of(end), end.head
    else:
        made, there = keys.signature_of(end), end.signature
    return made is not None and _same(made, there)


def _same(made: str, there: str) -> bool:
    """In constant time, whatever somebody has written there: `compare_digest` itself takes texts of ASCII alone."""
    return hmac.compare_digest(made.encode(), there.encode("utf-8", "replace"))


def _hash(value: Any) -> str:
    return sha256(canonical.text_of(value).encode("utf-8", "surrogatepass")).hexdigest()


def _keyed(key: bytes, what: str, value: Any) -> str:
    return hmac.digest(key, f"{what}:{canonical.text_of(value)}".encode("utf-8", "surrogatepass"), "sha256").hex()
