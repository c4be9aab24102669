"""A request, and the settings of a deployment that it is planned for: three models, one of them for pictures."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.config import Settings
from orchestrator.request import VideoRequest

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
            },
            "pools": {"pool-s": {"model": "small"}, "pool-b": {"model": "big"}, "pool-m": {"model": "moving"}},
            "aliases": {"CogVideoX-3": "big"},
            "api": api,
        }
    )


SETTINGS = settings()
