"""Pictures that callers bring, and who looks at what they ask for before it is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job import Artifact
from orchestrator.domain.picture import Picture
from orchestrator.domain.request import ImageSource


class Inputs(Protocol):
    """Where pictures come from and where they are kept."""

    async def load(self, tenant: str, source: ImageSource) -> Picture:
        """Fetch and check a picture. Raises a `RequestError` about the field `image`, or `Unavailable`."""
        ...

    async def keep(self, picture: Picture) -> Artifact:
        """Store it in S3 by its content, unless it is there. Raises `Unavailable`."""
        ...


class InputStore(Protocol):
    """Which objects hold which pictures. Every method may raise `StoreUnavailable`; none is half done then."""

    async def use_input(self, sha256: str) -> Artifact | None:
        """The object with this content, which no sweep will touch for as long as an idle one is kept."""
        ...

    async def add_input(self, uploaded: Artifact) -> Artifact:
        """Insert the row of an object that is in S3 already; or use the one that another was quicker to insert."""
        ...

    async def inputs_to_sweep(self, *, idle_s: float, grace_s: float, limit: int) -> list[str]:
        """Give up what was neither used for `idle_s` nor belongs to a job; then keys that were given up `grace_s` ago
        and still belong to none.
        """
        ...

    async def inputs_swept(self, keys: Sequence[str]) -> None:
        """The objects are gone: drop their rows."""
        ...

    async def inputs_unknown(self, made: Mapping[str, datetime], *, older_than_s: float) -> set[str]:
        """Those keys (with the time of each) that no row has and that are older than that."""
        ...


class Moderator(Protocol):
    """Whether a request may be rendered."""

    async def review(
        self, tenant: str, prompt: str, picture: Picture | None, *, negative_prompt: str | None = None
    ) -> None:
        """Return when it may. Raises `Refused`, or `ModerationUnavailable` when nobody answers and that means no."""
        ...
