"""Puts the use-cases behind every dialect together: for the API, and for whatever else submits (batches)."""

from __future__ import annotations

from orchestrator.config import Settings
from orchestrator.inputs import Pictures
from orchestrator.moderation import Moderation
from orchestrator.ports import JobStore, ObjectStore
from orchestrator.submit import Jobs


def open_jobs(settings: Settings, store: JobStore, objects: ObjectStore) -> Jobs:
    """Submitting and reading jobs, with all that checks a request."""
    return Jobs(settings, store, Pictures(), Moderation(settings.moderation))
