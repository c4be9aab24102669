"""All sections together, read and validated, and what follows from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from orchestrator.config import consistency, loops, placeholders, refusals, rendering, sections, sources
from orchestrator.config.console import ConsoleSettings, check_sign_in
from orchestrator.config.database import Access, DatabaseAddress
from orchestrator.config.logins import DEPLOYMENT
from orchestrator.config.masters import MasterKeySettings, ring_of
from orchestrator.config.oidc import OidcSettings, check_issuers
from orchestrator.config.tracing import TracingSettings
from orchestrator.domain.addresses import Reach
from orchestrator.domain.catalog import ModelFamily, Profile
from orchestrator.domain.errors import ConfigError, UnknownModel
from orchestrator.domain.masters import Ring


class Settings(BaseSettings):
    """Everything a Cogmill process is told. Frozen; build it with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=sources.PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", env_ignore_empty=True
    )

    database_url: str
    database_pooling: Literal["session", "transaction"] = "session"
    listen_url: str | None = None
    database_roles: str | None = Field(default=None, pattern=DEPLOYMENT)
    # Only those who deal in keys, webhooks and manifests need it: the API, the maintainer, commands about keys.
    master_key: SecretStr | None = None
    # Its other generations, of which the first makes what is new; `master_key` itself is the generation 1.
    master_keys: list[MasterKeySettings] = Field(default_factory=list)
    default_model: str
    models: dict[str, rendering.ModelSettings]
    pools: dict[str, rendering.PoolSettings]
    shared: dict[rendering.KindName, loops.SharedSettings] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)
    adapters: dict[str, rendering.AdapterSettings] = Field(default_factory=dict)
    models_cache: Path = Path("~/.cache/cogmill/models")
    engine: rendering.EngineSettings = rendering.EngineSettings()
    s3: sections.S3Settings = sections.S3Settings()
    api: sections.ApiSettings = sections.ApiSettings()
    # Issuers of people's tokens, by the names that people have before theirs. None: keys alone are taken.
    oidc: dict[str, OidcSettings] = Field(default_factory=dict)
    console: ConsoleSettings = ConsoleSettings()
    ray: loops.RaySettings = loops.RaySettings()
    lease: loops.LeaseSettings = loops.LeaseSettings()
    retry: loops.RetrySettings = loops.RetrySettings()
    watchdog: loops.WatchdogSettings = loops.WatchdogSettings()
    prediction: loops.PredictionSettings = loops.PredictionSettings()
    fetch: sections.FetchSettings = sections.FetchSettings()
    finish: sections.FinishSettings = sections.FinishSettings()
    limits: sections.LimitSettings = sections.LimitSettings()
    moderation: sections.ModerationSettings = sections.ModerationSettings()
    webhooks: loops.WebhookSettings = loops.WebhookSettings()
    batches: loops.BatchSettings = loops.BatchSettings()
    campaigns: loops.CampaignSettings = loops.CampaignSettings()
    autoscale: loops.AutoscaleSettings = loops.AutoscaleSettings()
    billing: loops.BillingSettings = loops.BillingSettings()
    retention: loops.RetentionSettings = loops.RetentionSettings()
    audit: loops.AuditSettings = loops.AuditSettings()
    metrics: loops.MetricsSettings = loops.MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    log: sections.LogSettings = sections.LogSettings()
    # The files that keys came from, by their names as files.
    _files: dict[str, Path] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        ring_of(self.master_key, self.master_keys)
        placeholders.refuse(self._secrets)
        consistency.check_bodies(self.api, self.max_request_bytes)
        check_issuers(self.oidc, max_head_bytes=self.api.max_head_bytes)
        check_sign_in(self.console, self.oidc, self.api.base_path)
        DatabaseAddress.parse(self.database_url)
        if self.listen_url is not None:
            DatabaseAddress.parse(self.listen_url, "listen_url")
        elif self.database_pooling == "transaction":
            raise ValueError("database_pooling = transaction needs listen_url, the database without its pooler")
        consistency.check_pools(self.pools, self.models)
        consistency.check_sources(self.s3, {"models": self.models, "adapters": self.adapters})
        consistency.check_shared(self.shared, self.pools)
        consistency.check_names(self.pools, self.shared)
        consistency.check_caps(self.pools, self.autoscale)
        consistency.check_models(self.models, self.pools)
        consistency.check_adapters(self.adapters, self.models)
        aliases = {f"aliases.{alias}": target for alias, target in self.aliases.items()}
        consistency.check_aliases({"default_model": self.default_model, **aliases}, self.models)
        return self

    @property
    def _secrets(self) -> dict[str, str | SecretStr | None]:
        """Whatever must be nobody else's, by its setting, but master keys (`config/masters.py`); and Ray's token."""
        return {
            "database_url": self.database_url,
            "listen_url": self.listen_url,
            "s3.access_key": self.s3.access_key,
            "s3.secret_key": self.s3.secret_key,
            "s3.signing_secret_key": self.s3.signing_secret_key,
            "fetch.proxy_url": self.fetch.proxy_url,
            "limits.storage": self.limits.storage,
            "metrics.token": self.metrics.token,
            "tracing.headers": self.tracing.headers,
            **placeholders.rays(),
        }

    @property
    def needed_ring(self) -> Ring:
        """The master keys as they were when these were read. Raises `ConfigError` where this process has none."""
        ring = ring_of(self.master_key, self.master_keys)
        if ring is None:
            raise ConfigError("master_key: needed here, and not set: COGMILL_MASTER_KEY, or the deployment's own")
        return ring

    @property
    def master_files(self) -> dict[str, Path]:
        """The files that master keys come from, by the names of these."""
        return {key: file for key, file in self._files.items() if key in ("master_key", "master_keys")}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, *sources.sources(settings_cls, env_settings))

    @property
    def database(self) -> Access:
        """How to reach the database."""
        pooled = self.database_pooling == "transaction"
        return Access(
            url=self.database_url,
            transaction_pooling=pooled,
            listen_url=self.listen_url,
            roles=self.database_roles,
            url_file=self._files.get("database_url"),
            listen_file=self._files.get("listen_url"),
        )

    @property
    def webhook_reach(self) -> Reach:
        """Where webhooks are sent: what is said of them, and for the rest what is said of pictures."""
        own, usual = self.webhooks, self.fetch
        return Reach(
            allow=usual.allow_networks if own.allow_networks is None else own.allow_networks,
            deny=usual.deny_networks if own.deny_networks is None else own.deny_networks,
            ports=usual.ports if own.ports is None else own.ports,
        )

    @property
    def s3_files(self) -> dict[str, Path]:
        """The files that S3's keys come from, by the names of these; what does not come from one is left out."""
        return {key.removeprefix("s3__"): file for key, file in self._files.items() if key.startswith("s3__")}

    @property
    def max_request_bytes(self) -> int:
        """Bytes that one request for a video may have, as a body or as a line of a batch.

        Room for a first and a last frame in base64, whatever else there is.
        """
        return self.api.max_body_bytes + 2 * self.fetch.max_image_bytes * 4 // 3

    def resolve_model(self, name: str | None) -> str:
        """The configured model behind a requested name, an alias or None (the default). Raises `UnknownModel`."""
        if name is None:
            return self.default_model
        folded = name.strip().casefold()
        for known in self.models:
            if known.casefold() == folded:
                return known
        for alias, model in self.aliases.items():
            if alias.casefold() == folded:
                return model
        raise UnknownModel(name, (*self.models, *self.aliases))

    def family_of(self, model: str) -> ModelFamily:
        """The catalogue's entry for a configured model, with the sizes that it is offered in."""
        return consistency.family_of(self.models[model])

    def image_model_of(self, model: str) -> str | None:
        """The configured model that renders from an image what `model` renders without; None when there is none."""
        family = self.family_of(model)
        if family.image_to_video:
            return model
        if self.models[model].image_model is not None:
            return self.models[model].image_model
        return next((name for name in self.models if self.models[name].family == family.image_sibling), None)

    @property
    def revisions(self) -> dict[str, str]:
        """What tells one state of each configured model's weights from another: where they come from, and as what.

        Of a directory only its name is told: these words stand in manifests, and paths are nobody's affair.
        """
        return {
            name: f"{model.family}:{model.source if model.directory is None else model.directory.name}"
            for name, model in self.models.items()
        }

    @property
    def prices(self) -> dict[str, float]:
        """Money for a GPU second as jobs' costs are in, where it costs most, of each pool that has a price."""
        return {name: price / 3600 for name, pool in self.pools.items() if (price := pool.price_of_work) is not None}

    @property
    def sets(self) -> dict[str, str]:
        """By pool that shares workers, the name of the set that may hold its model."""
        return {pool: name for name, shared in self.shared.items() for pool in shared.pools}

    def set_of(self, pool: str) -> str | None:
        """The set of shared workers that may hold this pool's model; None where it shares none."""
        return self.sets.get(pool)

    def own_workers(self, pool: str) -> int:
        """How many workers a pool without kinds has for itself; one that shares others has only those that it says."""
        return self.pools[pool].workers if self.set_of(pool) is None else self.pools[pool].said_workers

    def guaranteeable(self, pool: str) -> int:
        """How many workers its tenants can be guaranteed, all together: what it may have for itself, of all kinds.

        Whoever decides what shared workers hold knows no guarantees.
        """
        return self.pools[pool].most_workers if self.set_of(pool) is None else self.own_workers(pool)

    def most_workers(self, pool: str) -> int:
        """As many as may hold its model, of all kinds, and all that it shares."""
        shared = self.set_of(pool)
        known = self.pools[pool]
        return known.most_workers if shared is None else self.own_workers(pool) + self.shared[shared].workers

    @property
    def gpus(self) -> tuple[int, int]:
        """GPUs that are wanted at all times, and as many as there may be."""
        least = most = 0
        for name, pool in self.pools.items():
            own = None if pool.kinds else self.own_workers(name)
            least += (pool.least_workers if own is None else own) * pool.gpus_per_worker
            most += (pool.most_workers if own is None else own) * pool.gpus_per_worker
        of_all = sum(each.workers * self.pools[each.pools[0]].gpus_per_worker for each in self.shared.values())
        return least + of_all, most + of_all

    @property
    def worker_prices(self) -> dict[tuple[str, str], float | None]:
        """What an hour of one worker costs, by pool and kind (empty: whichever is dearest); None is unknown."""
        found: dict[tuple[str, str], float | None] = {}
        for name, pool in self.pools.items():
            found[name, ""] = pool.price_per_hour
            for kind in pool.kinds:
                price = pool.price_of(kind)
                found[name, kind] = None if price is None else price * pool.gpus_per_worker
        return found

    def kind_of(self, pool: str, worker: str) -> str:
        """The kind of a worker, by its name; empty where its pool has none, or is configured no more."""
        known = self.pools.get(pool)
        kinds = () if known is None else known.kinds
        return next((kind for kind in kinds if worker.rpartition("-")[0] == f"{pool}-{kind}"), "")

    def adapters_of(self, model: str) -> tuple[str, ...]:
        """The names of the LoRA adapters that a configured model takes."""
        return tuple(name for name, adapter in self.adapters.items() if model in adapter.models)

    def profiles_of(self, model: str) -> tuple[Profile, ...]:
        """The profiles that some pool renders a configured model in, the most exact first."""
        return tuple(profile for profile in Profile if self.pool_of(model, profile) is not None)

    def pool_of(self, model: str, profile: Profile) -> str | None:
        """The pool that renders a configured model in a profile (the first one configured); None when none does."""
        return next((name for name, pool in self.pools.items() if pool.model == model and profile in pool.served), None)


def load(**overrides: Any) -> Settings:
    """Read and validate the settings; raise `ConfigError` with one line per wrong key."""
    path = os.environ.get("COGMILL_CONFIG")
    if path and not Path(path).is_file():
        raise ConfigError(f"COGMILL_CONFIG: no such file: {path}")
    sources.refuse_unknown(Settings.model_fields)
    try:
        settings = Settings(**overrides)
        settings._files = {
            key: path for key, path in sources.paths().items() if key.partition("__")[0] not in overrides
        }
        return settings
    except ValidationError as error:
        raise ConfigError("\n".join(refusals.explain(item) for item in error.errors(include_url=False))) from None
    except SettingsError as error:
        raise ConfigError(refusals.unparsed(error)) from None
    except ValueError as error:  # a TOML file that does not parse
        raise ConfigError(f"COGMILL_CONFIG {path}: {error}") from None
