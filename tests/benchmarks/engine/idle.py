"""How long a device has nothing to do: the gaps between the kernels and copies that a profiler saw on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

# Launching a kernel takes microseconds, waking the step loop tens of them: a longer gap is somebody's doing.
SHORTEST_GAP_S = 1e-3


def gaps(spans: Iterable[tuple[float, float]], shortest: float = SHORTEST_GAP_S) -> list[float]:
    """Lengths of the times, of at least `shortest`, between the first span and the last that no (begin, end) covers."""
    found: list[float] = []
    until: float | None = None
    for begin, end in sorted(spans):
        if until is not None and begin - until >= shortest:
            found.append(begin - until)
        until = end if until is None else max(until, end)
    return found


def idle_s(work: Callable[[], object]) -> float:
    """Seconds in gaps while `work` ran on the GPU, which it must have waited for when it returns."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    spans = [
        (event.time_range.start / 1e6, event.time_range.end / 1e6)
        for event in seen.events() or ()
        if event.device_type is DeviceType.CUDA
    ]
    return sum(gaps(spans))
