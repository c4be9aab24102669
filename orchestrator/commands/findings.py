"""What the doctor says of a part; and of the roles in the database, from how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.store.granting import RoleStanding, Standing
from orchestrator.store.roles import Privilege


class Health(StrEnum):
    """How a part fares."""

    OK = "ok"
    # This could not be checked from here, and nothing says that it is wrong.
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check."""

    part: str
    health: Health
    detail: str
    # How to put right what failed.
    mend: str = ""

    def line(self) -> str:
        """One line for a terminal."""
        advice = f" -> {self.mend}" if self.health is Health.FAIL else ""
        return f"{self.health:<4}  {self.part:<20} {self.detail}{advice}"


ROLES = "roles"
_MEND = "run `cogmill migrate` as the owner of the tables"
_SPLIT = "`cogmill database roles --sql` prints a role for each process (OPERATIONS.md, Roles in the database)"
_GIVE = "give each process the URL of its own role (OPERATIONS.md, Roles in the database)"


def role_findings(found: Standing) -> Iterator[Finding]:
    """What the one who asks lacks, what the others lack, and whether one URL may do everything."""
    for role in found.roles:
        if role.lacks:
            yield Finding(ROLES, Health.FAIL, f"{role.name} lacks {_said(role.lacks)}", _MEND)
        if role.spare:
            yield Finding(ROLES, Health.NOTE, f"{role.name} may, beyond its needs, {_said(role.spare)}: revoke that")
    mine = next((role for role in found.roles if role.name == found.user), None)
    if mine is not None:
        yield from _own(mine)
    elif found.owns:
        advice = _GIVE if any(role.there for role in found.roles) else _SPLIT
        told = f"{found.user} may do everything with the tables, and with its URL a stolen Ray token may: {advice}"
        yield Finding(ROLES, Health.NOTE, told)
    elif found.lacks:
        yield Finding(ROLES, Health.FAIL, f"{found.user} lacks {_said(found.lacks)}", _MEND)
    else:
        yield Finding(ROLES, Health.NOTE, f"{found.user} may do what all processes do: {_SPLIT}")


def _own(mine: RoleStanding) -> Iterator[Finding]:
    if not mine.lacks:
        yield Finding(ROLES, Health.OK, f"{mine.name} may do what {mine.login} needs")


def _said(privileges: Iterable[Privilege]) -> str:
    return "; ".join(map(str, privileges))
