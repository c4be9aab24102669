"""The controller of clusters: one process for each release on Kubernetes. A second one beside it does no harm."""

from __future__ import annotations

from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import ACCOUNT, ClustersSettings
from orchestrator.kit.loops import Life, Loop, running, stop_signals
from orchestrator.processes.shared import PATIENCE_S
from orchestrator.rolling.controller import Controller
from orchestrator.store import Store
from orchestrator.telemetry import health


async def run_clusters(settings: ClustersSettings, api: KubernetesApi | None = None) -> None:
    """Make, roll and end the clusters of a release until SIGTERM or SIGINT. Raises `ConfigError` outside of a pod."""
    asked = settings.clusters
    kubernetes = KubernetesApi.in_pod(ACCOUNT, asked.namespace) if api is None else api
    async with Store.open(settings.database, connections=2) as store:
        pulse = health.Pulse(PATIENCE_S)
        try:
            with stop_signals() as stopping, health.serve(asked.host, asked.port, pulse, settings.metrics.bearer):
                controller = Controller(kubernetes, store, asked, kubernetes.namespace)
                async with running(pulse) as loops:
                    loops.start(Loop("clusters", asked.every_s, controller.run_once, Life.GOES_ROUND))
                    await stopping.wait()
        finally:
            await kubernetes.close()
