"""A request, and the settings of a deployment that it is planned for: five models, two of them for pictures."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField, RequestError
from orchestrator.domain.job import NewJob
from orchestrator.domain.request import VideoRequest
from orchestrator.intake.planning import plan

JOB = UUID("0198c5a7-e3b9-7d6f-8a0c-1f2e3d4c5b6a")
TIME = datetime(2030, 1, 1, tzinfo=UTC)
ASKED = VideoRequest(prompt="a lighthouse in a storm")


def settings(**api: object) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgresql://unused",
            "master_key": "m" * 16,
            "default_model": "small",
            "models": {
                "small": {"family": "tiny-2b", "source": "/models/small"},
                "big": {"family": "cogvideox-2b", "source": "/models/big"},
                "moving": {"family": "tiny-5b-i2v", "source": "/models/moving"},
                "large": {"family": "cogvideox-1.5-5b", "source": "/models/large", "accept_licence": True},
                "large-moving": {"family": "cogvideox-1.5-5b-i2v", "source": "/models/l-m", "accept_licence": True},
            },
            "pools": {
                "pool-s": {"model": "small"},
                "pool-b": {"model": "big"},
                "pool-m": {"model": "moving"},
                "pool-l": {"model": "large", "quantization": "fp8", "profiles": ["fast"]},
                "pool-l-draft": {"model": "large", "quantization": "int8"},
                "pool-lm": {"model": "large-moving", "gpus_per_worker": 4},
            },
            "adapters": {
                "ink": {"source": "/adapters/ink", "models": ["small"], "scale": 0.8},
                "walk": {"source": "s3://adapters/walk", "models": ["moving"]},
            },
            "aliases": {"CogVideoX-3": "big"},
            "api": api,
        }
    )


SETTINGS = settings()


def planned(request: VideoRequest = ASKED, seed: int = 7) -> NewJob:
    """The job that it becomes in this deployment."""
    return plan(SETTINGS, "acme", request, job_id=JOB, seed=seed)


def refused(request: VideoRequest, kind: type[RequestError] = InvalidField) -> RequestError:
    """Why it is refused there."""
    with pytest.raises(kind) as caught:
        planned(request)
    return caught.value
