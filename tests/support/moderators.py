"""What operators may plug in as `moderation.entry_point`: functions that answer, and some that do not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

YES, NO = {"allowed": True}, {"allowed": False, "reason": "not on this service"}

seen: list[dict[str, Any]] = []


def permits(facts: dict[str, Any]) -> dict[str, Any]:
    seen.append(facts)
    return YES


async def refuses(facts: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0)
    return NO


def dawdles(facts: dict[str, Any]) -> dict[str, Any]:
    time.sleep(0.5)
    return YES


def breaks(facts: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError


def mumbles(facts: dict[str, Any]) -> str:
    return "yes"


def refuses_blood(facts: dict[str, Any]) -> dict[str, Any]:
    return NO if "blood" in facts["prompt"] else YES


def refuses_blood_that_is_not_to_be_seen(facts: dict[str, Any]) -> dict[str, Any]:
    return NO | {"param": "negative_prompt"} if "blood" in facts.get("negative_prompt", "") else YES
