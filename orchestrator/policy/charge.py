"""What a job is charged: the seconds for which it keeps its worker from doing more, on the GPU or in finishing.

A worker has one GPU, or one group of them, and `FINISHERS` finishers beside it. Whichever of the two a job fills for
longer is what others wait for. So lanes, `limits.largest_request` and `limits.gpu_seconds_per_day` count the charge.
GPU seconds alone remain what the ledger adds up, what budgets hold and what money is asked for: a charge is no second
count of the same seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.job import RenderSpec, VideoResult
from orchestrator.domain.protocol import Stage
from orchestrator.policy.cost import predict_finish_s

# Renders of one worker that are finished at a time.
FINISHERS: Final = 2


def charge(gpu_seconds: float, finishing_s: float) -> float:
    """Of a job that holds the GPU and a finisher for so long."""
    return max(gpu_seconds, finishing_s / FINISHERS)


def predicted(gpu_seconds: float, spec: RenderSpec) -> float:
    """Of a job of these predicted GPU seconds; its finishing is the catalogue's word."""
    return charge(gpu_seconds, predict_finish_s(spec))


def of_video(result: VideoResult) -> float:
    """Of the attempt that a video came from."""
    return charge(result.gpu_seconds, finishing_s(result.stages))


def finishing_s(stages: Mapping[str, float]) -> float:
    """Seconds for which a render has held a finisher, of those that its stages took. Uploading is the bucket's pace."""
    return stages.get(Stage.FINISHING.value, 0.0)


def beyond(charged: float, gpu_seconds: float) -> float | None:
    """The charge as rows have it: none where it is the GPU seconds, as in rows of earlier releases."""
    return charged if charged > gpu_seconds else None
