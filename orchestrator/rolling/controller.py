"""Makes the cluster that the release asks for, rolls to it, and ends what is empty: reads, decides, carries out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.config.clusters import ControllerSettings
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.errors import ConfigError
from orchestrator.policy.rolling import Action, Create, Forget, GiveUp, Move, Remove, Standing, decide, overdue
from orchestrator.ports.clusters import ClusterRow, ClusterStore
from orchestrator.ports.kubernetes import Kind, KubeObject, Kubernetes
from orchestrator.rolling.pods import OF_CLUSTER, frees
from orchestrator.rolling.template import CLUSTER_LABEL, HASH_ANNOTATION, RELEASE_LABEL, Wanted, wanted
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("clusters")


@dataclass(slots=True)
class _Objects:
    """The objects of one cluster that there are."""

    ray_clusters: list[KubeObject] = field(default_factory=list)
    deployments: list[KubeObject] = field(default_factory=list)
    config_maps: list[KubeObject] = field(default_factory=list)

    def all(self) -> list[tuple[Kind, KubeObject]]:
        """In the order in which they go: the dispatcher first, its configuration last."""
        return [
            *((Kind.DEPLOYMENT, it) for it in self.deployments),
            *((Kind.RAY_CLUSTER, it) for it in self.ray_clusters),
            *((Kind.CONFIG_MAP, it) for it in self.config_maps),
        ]

    @property
    def ray_cluster(self) -> KubeObject | None:
        """The Ray cluster, unless it is being deleted."""
        return next((it for it in self.ray_clusters if not _goes(it)), None)


class Controller:
    """The clusters of one release. What a run leaves undone, or another controller does meanwhile, the next sees."""

    def __init__(self, api: Kubernetes, store: ClusterStore, settings: ControllerSettings, namespace: str) -> None:
        self._api = api
        self._store = store
        self._settings = settings
        self._release = f"{namespace}/{settings.owner}"

    async def run_once(self) -> int:
        """Look, decide and act once; how many actions. Raises `ConfigError` for a template that cannot be."""
        asked = await self._asked()
        if asked is None:
            return 0
        objects = await self._objects()
        rows = {row.name: row for row in await self._store.clusters(self._release)}
        if await self._adopt(objects, rows):
            rows = {row.name: row for row in await self._store.clusters(self._release)}
        standings = [_standing(row, objects.get(row.name, _Objects())) for row in rows.values()]
        metrics.show_clusters((each.state for each in standings), overdue=overdue(asked.target, standings))
        actions = decide(asked.target, standings)
        for action in actions:
            with aside.unless_it_breaks("clusters", cluster=action.name):
                await self._carry_out(action, asked, rows, objects)
        for each in rows.values():
            live = objects.get(each.name, _Objects()).ray_cluster
            if each.state is ClusterState.YIELDING and each.name != asked.name and live is not None:
                with aside.unless_it_breaks("clusters", cluster=each.name):
                    await self._free(each, live)
        row = rows.get(asked.name)
        if row is not None and row.state is not ClusterState.ENDING:
            await self._ensure(asked, objects.get(asked.name, _Objects()))
        return len(actions)

    async def _asked(self) -> Wanted | None:
        """What the release asks for; None while it is being uninstalled."""
        names = self._settings
        owner = await self._api.get(Kind.CONFIG_MAP, names.owner)
        if owner is None:
            raise ConfigError(f"clusters.owner: there is no ConfigMap {names.owner}")
        if _goes(owner):
            return None
        template = await self._api.get(Kind.CONFIG_MAP, names.template)
        if template is None:
            raise ConfigError(f"clusters.template: there is no ConfigMap {names.template}")
        return wanted(template.get("data") or {}, owner)

    async def _objects(self) -> Mapping[str, _Objects]:
        """The objects of this release by cluster."""
        found: defaultdict[str, _Objects] = defaultdict(_Objects)
        for kind, place in (
            (Kind.RAY_CLUSTER, "ray_clusters"),
            (Kind.DEPLOYMENT, "deployments"),
            (Kind.CONFIG_MAP, "config_maps"),
        ):
            for each in await self._api.list(kind, RELEASE_LABEL, self._settings.owner):
                cluster = each["metadata"]["labels"].get(CLUSTER_LABEL)
                if cluster is not None:
                    getattr(found[cluster], place).append(each)
        return dict(found)

    async def _adopt(self, objects: Mapping[str, _Objects], rows: Mapping[str, ClusterRow]) -> bool:
        """Note clusters that have objects and no row, as after the database was restored; they may hold renders."""
        adopted = False
        for name in sorted(set(objects) - set(rows)):
            with aside.unless_it_breaks("clusters", cluster=name):
                why = "it was found without a row"
                adopted |= await self._store.add_cluster(name, self._release, ClusterState.SERVING, why)
                _log.warning("cluster_adopted", cluster=name)
        return adopted

    async def _carry_out(
        self, action: Action, asked: Wanted, rows: Mapping[str, ClusterRow], objects: Mapping[str, _Objects]
    ) -> None:
        match action:
            case Create(name=name, why=why):
                if name not in rows:
                    await self._begin(asked, why, objects.get(name, _Objects()))
            case Move(name=name, to=to, why=why, successor=successor):
                moved = await self._store.move_cluster(
                    name, rows[name].version, to, why=why, successor=successor, grace_s=asked.roll.grace_s,
                    gone=name not in objects,
                )  # fmt: skip
                _log.info("cluster_moved" if moved else "cluster_moved_meanwhile", cluster=name, to=to, why=why)
            case GiveUp(name=name, hosts=hosts):
                given = await self._store.give_up(name, rows[name].version, hosts)
                _log.info("gives_up" if given else "cluster_moved_meanwhile", cluster=name, hosts=sorted(hosts))
            case Remove(name=name):
                for kind, each in objects[name].all():
                    if not _goes(each):
                        metadata = each["metadata"]
                        await self._api.delete(kind, metadata["name"], uid=metadata["uid"])
                        _log.info("object_deleted", cluster=name, kind=kind.word, name=metadata["name"])
            case Forget(name=name):
                await self._store.forget_cluster(name, rows[name].version)
                _log.info("cluster_ended", cluster=name)

    async def _free(self, yields: ClusterRow, live: KubeObject) -> None:
        """Have the pods go that a cluster gives up and that are empty."""
        empty = [host for host in yields.gives if not any(yields.hosts.get(host, {}).values())]
        pods = await self._api.list(Kind.POD, OF_CLUSTER, yields.name) if empty else []
        if patch := frees(live, pods, empty):
            done = await self._api.patch(Kind.RAY_CLUSTER, yields.name, patch)
            _log.info("pods_freed" if done else "pods_not_freed", cluster=yields.name, hosts=empty)

    async def _begin(self, asked: Wanted, why: str, there: _Objects) -> None:
        """Note the new cluster first, so that whoever comes after a crash knows of it, and make it."""
        if await self._store.add_cluster(asked.name, self._release, ClusterState.COMING, why):
            _log.info("cluster_begun", cluster=asked.name, why=why)
            await self._ensure(asked, there)
            return
        others = [row for row in await self._store.clusters() if row.name == asked.name]
        if others and asked.name not in {row.name for row in await self._store.clusters(self._release)}:
            raise ConfigError(f"raycluster.yaml: metadata.name: another release has a cluster {asked.name}")

    async def _ensure(self, asked: Wanted, there: _Objects) -> None:
        """Make what is missing of the cluster that should be; change only bounds and, of its dispatcher, everything."""
        if asked.config["metadata"]["name"] not in {it["metadata"]["name"] for it in there.config_maps}:
            await self._api.create(Kind.CONFIG_MAP, asked.config)
        if not there.ray_clusters:
            await self._api.create(Kind.RAY_CLUSTER, asked.ray_cluster)
        elif (live := there.ray_cluster) is not None and (patch := asked.bounds(live)):
            done = await self._api.patch(Kind.RAY_CLUSTER, asked.name, patch)
            _log.info("bounds_changed" if done else "bounds_not_changed", cluster=asked.name)
        await self._ensure_dispatcher(asked.dispatcher, there.deployments)

    async def _ensure_dispatcher(self, asked: KubeObject, there: Sequence[KubeObject]) -> None:
        if not there:
            await self._api.create(Kind.DEPLOYMENT, asked)
            return
        live = there[0]
        if _goes(live) or _hash_of(live) == _hash_of(asked):
            return
        if live["spec"]["selector"] != asked["spec"]["selector"]:  # which cannot be changed
            await self._api.delete(Kind.DEPLOYMENT, live["metadata"]["name"], uid=live["metadata"]["uid"])
            return
        metadata = {**asked["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}
        replaced = await self._api.replace(Kind.DEPLOYMENT, {**asked, "metadata": metadata})
        _log.info("dispatcher_replaced" if replaced else "dispatcher_changed_meanwhile", name=metadata["name"])


def _standing(row: ClusterRow, objects: _Objects) -> Standing:
    return Standing(
        name=row.name,
        state=row.state,
        age_s=row.age_s,
        cluster_exists=objects.ray_cluster is not None,
        objects_exist=bool(objects.all()),
        ready=row.ready,
        told=row.told,
        running=row.running,
        obeyed=row.obeyed,
        successor=row.successor,
        heard=row.heard,
        hosts=row.hosts,
        gives=row.gives,
    )


def _goes(it: KubeObject) -> bool:
    return bool(it["metadata"].get("deletionTimestamp"))


def _hash_of(it: KubeObject) -> str | None:
    found = (it["metadata"].get("annotations") or {}).get(HASH_ANNOTATION)
    return None if found is None else str(found)
