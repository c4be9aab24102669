"""Settings: read once from the environment and one TOML file, validated, frozen, passed down.

`COGMILL_CONFIG` names the TOML file; every key can be overridden by an environment variable, `COGMILL_` and the path
with `__` between its parts (`COGMILL_S3__BUCKET`), or by a file of that path's name (`s3__bucket`) in the folder that
`COGMILL_SECRETS_DIR` names. The environment wins over such files, and they over the TOML file.

Imports domain, policy.
"""

from orchestrator.config.loops import (
    AutoscaleSettings,
    BatchSettings,
    BillingSettings,
    CampaignSettings,
    LeaseSettings,
    MetricsSettings,
    PredictionSettings,
    RaySettings,
    RetentionSettings,
    RetrySettings,
    WatchdogSettings,
    WebhookSettings,
)
from orchestrator.config.oidc import OidcSettings
from orchestrator.config.rendering import (
    ADAPTER_SCALES,
    AdapterSettings,
    EngineSettings,
    KindSettings,
    ModelSettings,
    PoolSettings,
)
from orchestrator.config.sections import (
    ApiSettings,
    FetchSettings,
    FinishSettings,
    LimitSettings,
    LogSettings,
    ModerationSettings,
    S3Settings,
)
from orchestrator.config.settings import Settings, load
from orchestrator.config.tracing import TracingSettings

__all__ = [
    "ADAPTER_SCALES", "AdapterSettings", "ApiSettings", "AutoscaleSettings", "BatchSettings", "BillingSettings",
    "CampaignSettings", "EngineSettings", "FetchSettings", "FinishSettings", "KindSettings", "LeaseSettings",
    "LimitSettings", "LogSettings", "MetricsSettings", "ModelSettings", "ModerationSettings", "OidcSettings",
    "PoolSettings", "PredictionSettings", "RaySettings", "RetentionSettings", "RetrySettings", "S3Settings", "Settings",
    "TracingSettings", "WatchdogSettings", "WebhookSettings", "load",
]  # fmt: skip
