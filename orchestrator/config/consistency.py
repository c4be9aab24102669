"""Whether the sections of the settings fit together: each raises `ValueError`, which names the key."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.config.loops import AutoscaleSettings, SharedSettings
from orchestrator.config.rendering import AdapterSettings, ModelSettings, PoolSettings
from orchestrator.config.sections import ApiSettings, S3Settings
from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.pausing import EVERY

Models = Mapping[str, ModelSettings]
Pools = Mapping[str, PoolSettings]
Shared = Mapping[str, SharedSettings]


def check_bodies(api: ApiSettings, most: int) -> None:
    """That there is room for the largest request, of `most` bytes with its pictures."""
    if min(api.max_bodies_bytes, api.max_bodies_bytes_per_tenant) < most:
        raise ValueError(
            f"api.max_bodies_bytes and api.max_bodies_bytes_per_tenant must be at least {most},"
            " one request with its pictures (api.max_body_bytes, fetch.max_image_bytes)"
        )


def check_pools(pools: Pools, models: Models) -> None:
    """That a pool's name is one, that its model is there, and is rendered as the pool says."""
    for name, pool in pools.items():
        if name == EVERY:
            raise ValueError(f"no pool may be called {EVERY}, which means all of them")
        if "/" in name:
            raise ValueError(f"pools.{name}: its name must have no '/', which parts pool and kind in predictions")
        if pool.model not in models:
            raise ValueError(f"pools.{name}.model {pool.model!r} is none of models: {', '.join(models)}")
        family = family_of(models[pool.model])
        _check_shapes(f"pools.{name}.warm_shapes", pool, family)
        try:
            pool.check_dtype(family)
        except ValueError as error:
            raise ValueError(f"pools.{name}.{error}") from None


def _check_shapes(key: str, pool: PoolSettings, family: ModelFamily) -> None:
    """That requests are rendered in each shape that is compiled."""
    for shape in pool.warm_shapes:
        width, height, num_frames = map(int, shape.split("x"))
        if not family.renders((width, height), num_frames):
            raise ValueError(f"{key}: {family.name} renders no {shape} but {family.sizes_words}; {family.frames_rule}")


def check_sources(s3: S3Settings, named: Mapping[str, Mapping[str, ModelSettings | AdapterSettings]]) -> None:
    """That workers fetch nothing from S3 without keys of it."""
    for section, items in named.items():
        for name, item in items.items():
            if s3.worker_access == "presigned" and item.source.startswith("s3://"):
                raise ValueError(
                    f"{section}.{name}.source is fetched from S3, and with s3.worker_access = presigned workers have no"
                    " keys of it: put the files on a volume, or fetch them from elsewhere"
                )


def check_shared(shared: Shared, pools: Pools) -> None:
    """That the pools of a set can share workers."""
    homes: dict[str, str] = {}
    for name, each in shared.items():
        for pool in each.pools:
            if pool not in pools:
                raise ValueError(f"shared.{name}.pools has {pool!r}, which is none of pools: {', '.join(pools)}")
            if pool in homes:
                raise ValueError(f"shared.{name}.pools has {pool!r}, which shares the workers of {homes[pool]} already")
            if pools[pool].kinds:
                raise ValueError(f"pools.{pool}.kinds: a pool with kinds cannot share workers, as shared.{name} says")
            homes[pool] = f"shared.{name}"
        first = each.pools[0]
        for pool in each.pools:
            if pools[pool].gpus_per_worker != pools[first].gpus_per_worker:
                raise ValueError(
                    f"pools.{pool}.gpus_per_worker is {pools[pool].gpus_per_worker}, and that of {first}"
                    f" {pools[first].gpus_per_worker}: they share the workers of shared.{name}"
                )


def check_names(pools: Pools, shared: Shared) -> None:
    """That no two workers could get one name: `<pool>-<n>`, `<pool>-<kind>-<n>`, or `<set>-<n>`."""
    homes: dict[str, str] = {name: f"shared.{name}" for name in shared}
    for name, pool in pools.items():
        for prefix, home in {f"{name}-{kind}": f"pools.{name}.kinds.{kind}" for kind in pool.kinds}.items() or {
            (name, f"pools.{name}")
        }:
            if prefix in homes:
                raise ValueError(f"{home}: its workers would have the names of those of {homes[prefix]}")
            homes[prefix] = home


def check_caps(pools: Pools, caps: AutoscaleSettings) -> None:
    """That workers that are always there fit into the caps of all, and have prices where money is capped."""
    kinds = [(name, kind, pool) for name, pool in pools.items() for kind in pool.kinds]
    least = [(pool.kinds[kind].min * pool.gpus_per_worker, pool.price_of(kind)) for _, kind, pool in kinds]
    gpus, money = sum(gpus for gpus, _ in least), sum(gpus * (price or 0.0) for gpus, price in least)
    if caps.max_gpus is not None and gpus > caps.max_gpus:
        raise ValueError(f"autoscale.max_gpus {caps.max_gpus} is less than {gpus}, what min of all kinds takes")
    if caps.max_money_per_hour is None:
        return
    for name, kind, pool in kinds:
        if pool.price_of(kind) is None:
            raise ValueError(f"autoscale.max_money_per_hour needs pools.{name}.kinds.{kind}.price_per_gpu_hour")
    if money > caps.max_money_per_hour:
        told = f"{caps.max_money_per_hour:g} is less than {money:g}, what min of all kinds costs"
        raise ValueError(f"autoscale.max_money_per_hour {told}")


def check_models(models: Models, pools: Pools) -> None:
    """That each has a pool, and that the one that takes over for a picture takes pictures."""
    for name, model in models.items():
        sibling = model.image_model
        if sibling is not None and (sibling not in models or not FAMILIES[models[sibling].family].image_to_video):
            raise ValueError(f"models.{name}.image_model {sibling!r} is no configured image-to-video model")
    served = {pool.model for pool in pools.values()}
    for name in models:
        if name not in served:
            raise ValueError(f"models.{name} is served by no pool")


def check_adapters(adapters: Mapping[str, AdapterSettings], models: Models) -> None:
    """That there is each model that an adapter is for."""
    for name, adapter in adapters.items():
        for model_name in adapter.models:
            if model_name not in models:
                raise ValueError(f"adapters.{name}.models has {model_name!r}, which is none of the models")


def check_aliases(aliases: Mapping[str, str], models: Models) -> None:
    """That what other names of models mean is there; by key of the settings."""
    for key, target in aliases.items():
        if target not in models:
            raise ValueError(f"{key} {target!r} is none of models: {', '.join(models)}")


def family_of(model: ModelSettings) -> ModelFamily:
    """The catalogue's entry for a configured model, with the sizes that it is offered in."""
    return FAMILIES[model.family].offering(model.offered)
