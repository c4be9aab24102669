"""What the lines of a batch say alike in every dialect: the status of an answer, and the problem of a refusal."""

from __future__ import annotations

from api.wire.problem import Problem
from orchestrator.domain.batch import ItemError
from orchestrator.domain.errors import Refused
from orchestrator.domain.job import Job
from orchestrator.domain.states import JobState


def status_of(job: Job) -> int:
    """The HTTP status of a job that has ended."""
    if job.state is JobState.SUCCEEDED:
        return 200
    return 400 if job.failure is not None and job.failure.code == Refused.code else 500


def refusal_of(error: ItemError) -> Problem:
    """Why a line was not accepted, as its route would have told."""
    return Problem(status=400, code=error.code, message=error.message, param=error.param)
