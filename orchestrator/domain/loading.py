"""How workers stand with their models, why one cannot load, and how long it rests before it is tried again. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.retry import RetryPolicy

# A load that failed is tried again after 5 s, then after twice as long each time, up to ten minutes.
RESTS = RetryPolicy(base_s=5.0, cap_s=600.0)
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
    """`starting`: its worker has not answered yet. `broken`: its last load failed, and it rests or is tried again."""

    STARTING = "starting"
    LOADING = "loading"
    LOADED = "loaded"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """One worker and its model, as its dispatcher sees them.

    `failures` counts the loads that failed in a row; `reason` says why in words that any caller may read, `detail` in
    those of the worker, for operators.
    """

    worker: str
    pool: str
    model: str
    state: LoadState
    failures: int = 0
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The loads of one worker that failed in a row, and until when it rests, in monotonic seconds."""

    failures: int = 0
    reason: str = ""
    detail: str = ""
    rests_until: float = -math.inf

    def failed(self, reason: str, detail: str, now: float) -> Trouble:
        """One more load failed."""
        failures = self.failures + 1
        rest_s = RESTS.delay_s(failures, jitter=0.5)  # no jitter: workers that rest are in nobody's way
        return Trouble(failures, reason, " ".join(detail.split())[:_DETAIL_CHARS], now + rest_s)

    def died(self, detail: str, now: float) -> Trouble:
        """One more load ended with its process."""
        died = self.failures + 1
        times = "" if died == 1 else f", {died} times in a row"
        return self.failed(f"its process died while loading it{times}; often that is a lack of memory", detail, now)


NO_TROUBLE = Trouble()


def reason_of(error: str) -> str:
    """Why a worker cannot load its model, for any caller, from what it says itself (`WorkerStatus.error`)."""
    return next((reason for pattern, reason in _REASONS if pattern.search(error)), _ANY_REASON)
