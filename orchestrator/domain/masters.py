"""The master keys: a ring of generations, each of which has its own secrets follow from it. Pure.

Clients hold those secrets, so they stay on their generation until they are replaced, and a row says which one that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# The generation of `master_key`, and of whatever was made before there were others.
FIRST = 1
MIN_CHARS = 16
# Each costs every request an HMAC.
MOST = 8


@dataclass(frozen=True, slots=True)
class Master:
    """One generation."""

    generation: int
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ring:
    """At least one. New secrets follow from the first; those of all are good."""

    masters: tuple[Master, ...]

    @classmethod
    def of(cls, *keys: str) -> Ring:
        """Newest first, down to the first generation."""
        return cls(tuple(Master(FIRST + len(keys) - place, key) for place, key in enumerate(keys, 1)))

    def __call__(self) -> Ring:
        """Itself: a ring that never changes may stand where one is asked for each time."""
        return self

    @property
    def newest(self) -> Master:
        return self.masters[0]

    @property
    def generations(self) -> tuple[int, ...]:
        """In their order."""
        return tuple(master.generation for master in self.masters)

    def key_of(self, generation: int) -> str | None:
        """None where it is not in the ring, or no more."""
        return next((master.key for master in self.masters if master.generation == generation), None)

    def changed(self, other: Ring) -> list[int]:
        """Generations that both have, with another key."""
        return [each.generation for each in other.masters if self.key_of(each.generation) not in (None, each.key)]


# The ring as it is now. Whoever deals in secrets asks each time, since its files may change.
Masters = Callable[[], Ring]


def check(named: Iterable[tuple[str, Master]]) -> Ring:
    """These as a ring; each with the name of the setting that says it. Raises `ValueError`, which tells no key."""
    homes: dict[int, str] = {}
    keys: dict[str, str] = {}
    masters = []
    for name, master in named:
        if len(master.key) < MIN_CHARS:
            raise ValueError(f"{name} must have at least {MIN_CHARS} characters")
        if master.generation in homes:
            raise ValueError(f"{name}: the generation {master.generation} is {homes[master.generation]} already")
        if master.key in keys:
            raise ValueError(f"{name} is the same key as {keys[master.key]}: each generation has its own")
        homes[master.generation] = keys[master.key] = name
        masters.append(master)
    if len(masters) > MOST:
        raise ValueError(f"master_keys: {len(masters)} generations with master_key, and {MOST} is the most")
    return Ring(tuple(masters))
