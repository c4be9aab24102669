"""Where every table stands when a tenant is erased: which of its rows are a tenant's, or why it has none.

A table that is in no list fails `tests/contract/store/test_erasures.py`.
"""

from __future__ import annotations

from typing import Final

_OF_CAMPAIGN: Final = "campaign = ANY (ARRAY(SELECT number FROM campaigns WHERE tenant = :tenant))"

# Of each table that has rows of a tenant, which. In this order: what is found by another table's rows comes before
# those, and a table's turn comes once those before it have none left.
OF_TENANT: Final[dict[str, str]] = {
    "campaign_jobs": _OF_CAMPAIGN,
    "campaign_rows": _OF_CAMPAIGN,
    "campaign_bad_rows": _OF_CAMPAIGN,
    "campaign_passes": _OF_CAMPAIGN,
    "campaign_progress": _OF_CAMPAIGN,
    "forecasts": "subject = 'campaign' AND name = ANY (ARRAY(SELECT id FROM campaigns WHERE tenant = :tenant))",
    "campaigns": "tenant = :tenant",
    "review_entries": "tenant = :tenant",
    "reviews": "tenant = :tenant",
    "batch_items": "batch_id = ANY (ARRAY(SELECT id FROM batches WHERE tenant = :tenant))",
    "batches": "tenant = :tenant",
    "files": "tenant = :tenant",
    # Behind files, of which each that goes is a change here, which may be added up at any time.
    "stored_changes": "tenant = :tenant",
    "stored": "tenant = :tenant",
    "outbox": "tenant = :tenant",
    "delivery_attempts": "tenant = :tenant",
    "deliveries": "tenant = :tenant",
    "webhook_endpoints": "tenant = :tenant",
    "parked": "tenant = :tenant",
    "bulk_actions": "owner = :tenant OR tenant = :tenant",
    "notes": "tenant = :tenant",
    "saved_filters": "tenant = :tenant",
    "console_sessions": "tenant = :tenant",
    "lanes": "tenant = :tenant",
    "lane_forecasts": "tenant = :tenant",
    "shares": "tenant = :tenant",
    "budgets": "tenant = :tenant",
    "spending": "tenant = :tenant",
    "flow_samples": "subject = 'tenant' AND name = :tenant",
    "quarantines": "tenant = :tenant",
    # Or kept without the tenant's name: `erasures.keep_usage`.
    "usage": "tenant = :tenant",
}

# And of these a row goes only when it leads to no others: nothing else would.
ONCE_EMPTY: Final[dict[str, str]] = {
    "campaigns": " AND ".join(
        f"NOT EXISTS (SELECT FROM {table} AS of WHERE of.campaign = campaigns.number)"
        for table in ("campaign_jobs", "campaign_rows", "campaign_bad_rows", "campaign_passes", "campaign_progress")
    ),
    "batches": "NOT EXISTS (SELECT FROM batch_items AS of WHERE of.batch_id = batches.id)",
}

# These go with their objects, by `forget_jobs`.
OF_JOBS: Final[dict[str, str]] = {
    "attempts": "job_id = ANY (ARRAY(SELECT id FROM jobs WHERE tenant = :tenant))",
    "dead_letters": "job_id = ANY (ARRAY(SELECT id FROM jobs WHERE tenant = :tenant))",
    "jobs": "tenant = :tenant",
}

# And these last: until then keys say that their tenant is being erased.
LAST: Final[dict[str, str]] = {
    "keys": "tenant = :tenant",
    "tenants": "name = :tenant",
}

# Rows of these stay, without what they say of a tenant and of its callers: `blank` of `audit_sealing.py`.
BLANKED: Final[dict[str, str]] = {"audit": "tenant = :tenant OR actor_tenant = :tenant"}

# What has no rows of any one tenant, and why.
OF_NOBODY: Final[dict[str, str]] = {
    "alembic_version": "the schema's revision",
    "audit_checkpoints": "numbers and digests of seals",
    "audit_seals": "ids and digests of the audit log's entries",
    "deployment": "the deployment's name",
    "dispatchers": "clusters' dispatchers",
    "erasures": "names its tenant until it is finished, and nobody then",
    "erasure_rest": "ids of jobs and contents of pictures, until the erasure is finished",
    "fleet_kinds": "counts of workers",
    "flow_clock": "up to when the queue was sampled",
    "gpu_samples": "seconds of workers",
    "inputs": "pictures by their content, which tenants share: given up where no job of others has them",
    "leaders": "processes",
    "learned_ratios": "how long kinds of renders take",
    "pauses": "what operators hold up",
    "ray_clusters": "clusters",
    "scale_decisions": "counts of workers and of what waits",
    "worker_loads": "workers",
    "worker_orders": "workers, and ids of the keys of administrators",
    "worker_time": "seconds of workers",
    "workers": "workers",
}
