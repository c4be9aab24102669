"""The settings of `cogmill clusters`, which has neither master key nor models nor buckets; and of how a roll goes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.config import placeholders, sources
from orchestrator.config.database import Access, DatabaseAddress
from orchestrator.config.loops import MetricsSettings
from orchestrator.config.section import Seconds, Section
from orchestrator.config.sections import LogSettings
from orchestrator.domain.errors import ConfigError
from orchestrator.policy.rolling import Strategy

# Where Kubernetes puts a service account into its pods (Kubernetes: "Accessing the API from a Pod").
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class RollSettings(Section):
    """How one cluster makes way for the next: `roll.yaml` in the template, so that it may change without a restart."""

    strategy: Strategy = Strategy.SURGE
    # An old cluster that holds renders for longer than this claims again.
    deadline_s: Seconds = 4 * 3600
    # Of what renders when its cluster retires, what would take longer leaves with its checkpoint.
    grace_s: float = Field(default=300, ge=0, le=7 * 24 * 3600)

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.grace_s >= self.deadline_s:
            raise ValueError("grace_s must be less than deadline_s, or no roll ends in time")
        return self


class ControllerSettings(Section):
    """Whose clusters these are, and where what they should look like is told."""

    # ConfigMaps of the namespace: the one that all objects of the release belong to, and the template.
    owner: str = Field(min_length=1, max_length=63)
    template: str = Field(min_length=1, max_length=253)
    # None: that of the pod.
    namespace: str | None = None
    # Between two looks.
    every_s: float = Field(default=5, gt=0, le=30)
    # Where `/metrics` and `/healthz` are served.
    host: str = "127.0.0.1"
    port: int = Field(default=9103, ge=0, le=65535)


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="COGMILL_", env_nested_delimiter="__", frozen=True, extra="ignore", env_ignore_empty=True
    )

    database_url: str
    database_pooling: Literal["session", "transaction"] = "session"
    log: LogSettings = LogSettings()
    # Of these the token alone: where the controller listens is its own section's.
    metrics: MetricsSettings = MetricsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, sources.files(settings_cls)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        DatabaseAddress.parse(self.database_url)
        placeholders.refuse({"database_url": self.database_url, "metrics.token": self.metrics.token})
        return self

    @property
    def database(self) -> Access:
        """How to reach the database."""
        return Access(
            url=self.database_url,
            transaction_pooling=self.database_pooling == "transaction",
            url_file=sources.paths().get("database_url"),
        )


class ClustersSettings(_Environment):
    """Everything that the controller is told, from its environment, and from files of secrets."""

    clusters: ControllerSettings


def load_clusters() -> ClustersSettings:
    """Read the controller's settings; raise `ConfigError` with one line per wrong variable."""
    try:
        return ClustersSettings()
    except ValidationError as error:
        raise ConfigError(explained(error)) from None


def database_from_environment() -> Access:
    """The database alone, for whoever only looks; raises `ConfigError`."""
    try:
        return _Environment().database
    except ValidationError as error:
        raise ConfigError(explained(error)) from None


def explained(error: ValidationError, prefix: str = "") -> str:
    """One line per mistake. Without a prefix its place is written as the environment's variable."""
    lines = []
    for item in error.errors(include_url=False):
        message = str(item["msg"]).removeprefix("Value error, ")
        parts = [str(part) for part in item["loc"]]
        place = ".".join(parts) if prefix else "__".join(["COGMILL", *parts]).replace("__", "_", 1).upper()
        lines.append(f"{prefix}{place}: {message}" if parts else f"{prefix}{message}")
    return "\n".join(lines)
