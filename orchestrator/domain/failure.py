"""Why attempts fail, in one word each: every code there is, and what it says of the render and of its worker.

The job's owner reads the code of the failure that ended the job, in every dialect and in events; operators read every
attempt's, in the row and in the log. The words never change: rows of earlier releases hold them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class FailureCode(StrEnum):
    """What went wrong. `RenderFailed` takes nothing else.

    `beside_the_render`: it says nothing against what was rendered so far, so another worker goes on at the checkpoint.
    After any other the next attempt starts over: the checkpoint may hold what broke the render. `beside_the_worker`: it
    says nothing against the worker, as another would have met with it too, so it does not count towards quarantine.
    What no retry mends never does, nor has it a next attempt.
    """

    beside_the_render: bool
    beside_the_worker: bool

    def __new__(cls, word: str, beside_the_render: bool = False, beside_the_worker: bool = False) -> Self:
        code = str.__new__(cls, word)
        code._value_ = word
        code.beside_the_render = beside_the_render
        code.beside_the_worker = beside_the_worker
        return code

    # What the request brought along: its owner is told at once, since no retry mends it.
    IMAGE_UNREADABLE = "image_unreadable", False, True
    WRONG_IMAGE = "wrong_image", False, True
    ADAPTER_UNUSABLE = "adapter_unusable", False, True
    # A size, a length, steps or another value that the loaded checkpoint cannot render, whoever accepted it.
    IMPOSSIBLE_REQUEST = "impossible_request", False, True
    PROMPT_TOO_LONG = "prompt_too_long", False, True
    CONTENT_POLICY_VIOLATION = "content_policy_violation", False, True

    # What every worker depends on does not answer: from here on owners see a code when their attempts are spent.
    IMAGE_UNAVAILABLE = "image_unavailable", True, True
    CHECKPOINT_UNAVAILABLE = "checkpoint_unavailable", True, True
    ADAPTER_UNAVAILABLE = "adapter_unavailable", True, True
    MODERATION_UNAVAILABLE = "moderation_unavailable", True, True
    UPLOAD_FAILED = "upload_failed", True, True

    # The worker, or what it had left.
    OUT_OF_MEMORY = "out_of_memory", True
    DISK_FULL = "disk_full", True
    PROVENANCE_FAILED = "provenance_failed", True
    WORKER_FAILED = "worker_failed", True

    # The render, or whatever else no rule knows.
    NAN_FRAMES = "nan_frames"
    RENDER_ERROR = "render_error"
    # Within a worker only, which then starts the render over: owners read of it as an incident.
    CHECKPOINT_UNUSABLE = "checkpoint_unusable"

    # Said by the dispatcher, of a worker that says no more, or of a job that keeps leaving its workers.
    WORKER_LOST = "worker_lost", True
    HUNG = "hung", True
    EVICTED_TOO_OFTEN = "evicted_too_often", True, True

    @property
    def of_the_request(self) -> bool:
        """Whether the request brought it along. Whatever else ends a job is the service's fault."""
        return self.beside_the_worker and not self.beside_the_render

    @classmethod
    def of(cls, word: str) -> FailureCode | None:
        """The code of that word; None for one of another release."""
        try:
            return cls(word)
        except ValueError:
            return None
