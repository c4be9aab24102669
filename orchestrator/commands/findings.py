"""What the doctor says of a part, and how it comes to say it: one check, which neither raises nor hangs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.errors import CogmillError

# No check takes longer, whatever does not answer it; to join Ray, and to read model files, may take more.
WITHIN_S = 12.0
SLOW_S = 30.0


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


class _Ill(CogmillError):
    """A part answers, and not as it should."""


def ill(why: str) -> CogmillError:
    """What a check raises of a part that answers, and not as it should."""
    return _Ill(why)


def check(part: str, attempt: Callable[[], str], mend: str, *, within_s: float | None = None) -> Finding:
    """The finding of one check, within `WITHIN_S` or else `within_s`: one that hangs is left behind in its thread."""
    within_s = WITHIN_S if within_s is None else within_s
    answers: queue.SimpleQueue[Finding] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(Finding(part, Health.OK, attempt()))
        except CogmillError as error:
            answers.put(Finding(part, Health.FAIL, one_line(error), mend))
        except Exception as error:  # whatever it is: the other checks go on
            answers.put(Finding(part, Health.FAIL, one_line(f"{type(error).__name__}: {error}"), mend))

    threading.Thread(target=run, name=part, daemon=True).start()
    try:
        return answers.get(timeout=within_s)
    except queue.Empty:
        return Finding(part, Health.FAIL, f"no answer within {within_s:g} s", mend)


def one_line(said: object) -> str:
    """As findings tell it."""
    return " ".join(str(said).split())[:300]
