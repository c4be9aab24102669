"""Puts the use-cases behind every dialect together: for the API, and for whatever else submits (batches)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.adapters.moderation import Moderation
from orchestrator.config import Settings
from orchestrator.intake.files import Files
from orchestrator.intake.jobs import Jobs
from orchestrator.intake.pictures import Pictures
from orchestrator.intake.waiting import Waiting, WaitReader
from orchestrator.learning.book import Book
from orchestrator.ports import InputStore, JobStore, ObjectStore
from orchestrator.ports.files import FileStore
from orchestrator.ports.predictions import PredictionReader
from orchestrator.tenants.rates import LimitFinder, TenantLimits, check_storage


class FrontdoorStore(JobStore, InputStore, FileStore, LimitFinder, PredictionReader, WaitReader, Protocol):
    """What the use-cases ask of the store."""


def check(settings: Settings) -> None:
    """Raise `ConfigError` for what would otherwise show at the first request only."""
    _ = settings.needed_ring
    Moderation(settings.moderation)
    check_storage(settings.limits.storage)


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """The use-cases of one process: its jobs, its files, and what a tenant may ask for. Each there is once."""

    jobs: Jobs
    files: Files
    limits: TenantLimits
    waiting: Waiting
    book: Book


def open_front_door(settings: Settings, store: FrontdoorStore, objects: ObjectStore) -> FrontDoor:
    """Submitting and reading jobs and files, with all that checks a request."""
    files = Files(settings, store, objects)
    pictures = Pictures(settings.fetch, store, objects, files)
    limits = TenantLimits(store, cache_s=settings.api.key_cache_s)
    waiting, book = Waiting(store, settings.sets), Book.of(settings, store)
    jobs = Jobs(settings, store, pictures, Moderation(settings.moderation), limits, waiting, book)
    return FrontDoor(jobs, files, limits, waiting, book)
