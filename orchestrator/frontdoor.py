"""Puts the use-cases behind every dialect together: for the API, and for whatever else submits (batches)."""

from __future__ import annotations

from typing import Protocol

from orchestrator.config import Settings
from orchestrator.files import Files
from orchestrator.inputs.pictures import Pictures
from orchestrator.limits import LimitFinder, TenantLimits, check_storage
from orchestrator.moderation import Moderation
from orchestrator.ports import InputStore, JobStore, ObjectStore
from orchestrator.ports.files import FileStore
from orchestrator.submit import Jobs
from orchestrator.waiting import Waiting


class FrontdoorStore(JobStore, InputStore, FileStore, LimitFinder, Protocol):
    """What the use-cases ask of the store."""


def check(settings: Settings) -> None:
    """Raise `ConfigError` for what would otherwise show at the first request only."""
    Moderation(settings.moderation)
    check_storage(settings.limits.storage)


def open_jobs(settings: Settings, store: FrontdoorStore, objects: ObjectStore, waiting: Waiting | None = None) -> Jobs:
    """Submitting and reading jobs, with all that checks a request. `waiting` may be shared with others."""
    pictures = Pictures(settings.fetch, store, objects, Files(settings, store, objects))
    limits = TenantLimits(store, cache_s=settings.api.key_cache_s)
    return Jobs(settings, store, pictures, Moderation(settings.moderation), limits, waiting or Waiting(store))
