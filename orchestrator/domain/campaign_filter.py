"""What campaigns are looked for by. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.texts import check_text

MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignFilter:
    """Which campaigns are meant: those that are all of what is said. Raises `InvalidField`."""

    state: CampaignState | None = None
    # In the name, whatever its case.
    name: str | None = None
    # Whose last forecast says that the deadline or the budget does not hold.
    at_risk: bool = False

    def __post_init__(self) -> None:
        check_text(self.name or "", "name", max_chars=MAX_NAME)


ALL = CampaignFilter()
