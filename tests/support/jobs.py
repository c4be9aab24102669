"""Jobs, workers and endings for tests of the store and of what stands on it."""

from __future__ import annotations

from typing import Any

import uuid_utils.compat

from orchestrator.domain.job import Claim, Failure, NewJob, WorkerRef
from orchestrator.domain.outcome import Ending, Evicted, Lost, Released, Settlement, settle
from orchestrator.domain.protocol import Broke, Rendered
from orchestrator.domain.retry import RetryPolicy
from tests.support.builders import a_job, a_result, a_spec, prefix_of

POOL = "tiny"
CLUSTER = "here"
SPEC = a_spec()
AT_ONCE = RetryPolicy(base_s=0.0, cap_s=0.0)


def new_job(tenant: str = "acme", **changes: Any) -> NewJob:
    """A job worth 90 predicted GPU seconds, with a time-ordered id as `submit` makes it."""
    defaults: dict[str, Any] = {"id": uuid_utils.compat.uuid7(), "tenant": tenant, "pool": POOL, "priority": 0}
    return a_job(**{**defaults, "cost": 90.0, "spec": SPEC, **changes})


def worker(name: str = "w0", incarnation: str = "first") -> WorkerRef:
    return WorkerRef(name=name, incarnation=incarnation)


def workers(count: int) -> list[WorkerRef]:
    return [worker(f"w{i}") for i in range(count)]


def rendered(claim: Claim, gpu_seconds: float = 90.0) -> Rendered:
    """The claim's success, with artefacts below its own prefix."""
    return Rendered(result=a_result(prefix_of(claim), gpu_seconds=gpu_seconds))


def broke(*, retryable: bool = True, gpu_seconds: float = 0.0) -> Broke:
    return Broke(failure=Failure(code="boom", message="it broke", retryable=retryable), gpu_seconds=gpu_seconds)


def lost() -> Lost:
    return Lost(failure=Failure(code="worker_lost", message="its worker vanished"))


def evicted() -> Evicted:
    return Evicted(reason="drain")


def released() -> Released:
    return Released(reason="refused")


def ending(claim: Claim, how: Ending, policy: RetryPolicy = AT_ONCE) -> Settlement:
    """The settlement of a claim that ended like this."""
    return settle(claim, how, policy, 0.5)


def success(claim: Claim, gpu_seconds: float = 90.0) -> Settlement:
    return ending(claim, rendered(claim, gpu_seconds))
