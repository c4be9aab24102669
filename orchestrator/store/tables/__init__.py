"""The tables, with the invariants that the database itself enforces. The migrations must build exactly this.

Every time comes from `cogmill_now()`, the one clock of leases and queues; a test may replace the function.
"""

from orchestrator.store.tables.audit import audit, audit_checkpoints, audit_seals
from orchestrator.store.tables.base import metadata
from orchestrator.store.tables.campaigns import (
    budgets,
    campaign_bad_rows,
    campaign_jobs,
    campaign_passes,
    campaign_rows,
    campaigns,
    spending,
)
from orchestrator.store.tables.clusters import ray_clusters
from orchestrator.store.tables.desk import bulk_actions, notes, saved_filters
from orchestrator.store.tables.erasures import erasure_rest, erasures
from orchestrator.store.tables.fleet import fleet_kinds, scale_decisions
from orchestrator.store.tables.flow import flow_clock, flow_samples, gpu_samples
from orchestrator.store.tables.forecasts import forecasts, lane_forecasts, leaders
from orchestrator.store.tables.operators import dead_letters, parked, pauses, quarantines, worker_orders, worker_time
from orchestrator.store.tables.predictions import learned_ratios
from orchestrator.store.tables.queue import attempts, dispatchers, jobs, lanes, usage, worker_loads, workers
from orchestrator.store.tables.reviews import campaign_progress, review_entries, reviews
from orchestrator.store.tables.sessions import console_sessions
from orchestrator.store.tables.tenants import deployment, keys, shares, tenants
from orchestrator.store.tables.uploads import batch_items, batches, files, inputs, stored, stored_changes
from orchestrator.store.tables.webhooks import deliveries, delivery_attempts, outbox, webhook_endpoints

__all__ = [
    "attempts", "audit", "audit_checkpoints", "audit_seals", "batch_items", "batches", "budgets", "bulk_actions",
    "campaign_bad_rows", "campaign_jobs", "campaign_passes", "campaign_progress", "campaign_rows", "campaigns",
    "console_sessions", "dead_letters", "deliveries", "delivery_attempts", "deployment", "dispatchers",
    "erasure_rest", "erasures", "files", "fleet_kinds", "flow_clock", "flow_samples", "forecasts", "gpu_samples",
    "inputs", "jobs", "keys",
    "lane_forecasts", "lanes", "leaders", "learned_ratios", "metadata", "notes", "outbox", "parked", "pauses",
    "quarantines", "ray_clusters", "review_entries", "reviews", "saved_filters", "scale_decisions", "shares",
    "spending", "stored", "stored_changes", "tenants", "usage", "webhook_endpoints", "worker_loads",
    "worker_orders", "worker_time", "workers",
]  # fmt: skip
