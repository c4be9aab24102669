"""How workers stand with their models, why one cannot load, and how long it rests before it is tried again. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.retry import FULL, Backoff

# Between two tries of a load that failed. Without jitter: workers that rest are in nobody's way.
RESTS = Backoff(base_s=5.0, cap_s=600.0, spread=FULL)
_DETAIL_CHARS = 1_000

# A worker says the type of what it met with before the sentence. Of the sentence nothing is passed on to callers: it
# may name paths and hosts.
_REASONS = (
    (re.compile(r"memory", re.IGNORECASE), "there is not enough memory for it"),
    (re.compile(r"cannot be fetched|\w*Unavailable:.*(fetch|S3|Hub)"), "its files cannot be fetched"),
    (re.compile(r"ScratchUnavailable:"), "the disk of its node is full, or cannot be written"),
    (re.compile(r"(ConfigError|IntegrityError):"), "its files are not whole, or do not fit its configuration"),
)
_ANY_REASON = "loading it fails"


class LoadState(StrEnum):
    """How a worker stands with its model."""

    # The worker has not answered yet.
    STARTING = "starting"
    LOADING = "loading"
    LOADED = "loaded"
    # The last load failed. The worker rests, or it is tried again.
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """One worker and its model, as its dispatcher sees them."""

    worker: str
    pool: str
    model: str
    state: LoadState
    # Loads that failed in a row.
    failures: int = 0
    # Why, in words that any caller may read.
    reason: str = ""
    # Why, in the worker's words, for operators.
    detail: str = ""
    # LoRA adapters in its memory.
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """The loads of one worker that failed in a row: `WorkerLoad` explains the first three."""

    failures: int = 0
    reason: str = ""
    detail: str = ""
    # Monotonic seconds.
    rests_until: float = -math.inf

    def failed(self, reason: str, detail: str, now: float) -> Trouble:
        """One more load failed."""
        failures = self.failures + 1
        rests_until = now + RESTS.delay_s(failures, jitter=0)
        return Trouble(failures, reason, " ".join(detail.split())[:_DETAIL_CHARS], rests_until)

    def died(self, detail: str, now: float) -> Trouble:
        """One more load ended with its process."""
        died = self.failures + 1
        times = "" if died == 1 else f", {died} times in a row"
        return self.failed(f"its process died while loading it{times}; often that is a lack of memory", detail, now)


NO_TROUBLE = Trouble()


def reason_of(error: str) -> str:
    """Why a worker cannot load its model, for any caller, from what it says itself (`WorkerStatus.error`)."""
    return next((reason for pattern, reason in _REASONS if pattern.search(error)), _ANY_REASON)
