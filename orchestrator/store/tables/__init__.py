"""The tables, with the invariants that the database itself enforces. The migrations must build exactly this.

Every time comes from `cogmill_now()`, the one clock of leases and queues; a test may replace the function.
"""

from orchestrator.store.tables.base import metadata
from orchestrator.store.tables.operators import parked, pauses
from orchestrator.store.tables.queue import attempts, dispatchers, jobs, lanes, usage, worker_loads, workers
from orchestrator.store.tables.tenants import deployment, keys, tenants
from orchestrator.store.tables.uploads import batch_items, batches, files, inputs
from orchestrator.store.tables.webhooks import deliveries, outbox, webhook_endpoints

__all__ = [
    "attempts", "batch_items", "batches", "deliveries", "deployment", "dispatchers", "files", "inputs", "jobs", "keys",
    "lanes", "metadata", "outbox", "parked", "pauses", "tenants", "usage", "webhook_endpoints", "worker_loads",
    "workers",
]  # fmt: skip
