"""The tables, with the invariants that the database itself enforces. The migrations must build exactly this.

Every time comes from `cogmill_now()`, the one clock of leases and queues; a test may replace the function.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import UserDefinedType

metadata = MetaData()


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id, which never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


_NOW = text("cogmill_now()")
_ZERO = text("0")

# Rows of a hot table are rewritten several times. Room on the page keeps those updates heap-only, and vacuum must come
# after a fixed number of dead rows: a share of a million waiting rows would be far too late for the queue's head.
_HOT = {
    "fillfactor": 60,
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_vacuum_cost_delay": 0,
}


def _time(name: str, **options: Any) -> Column[Any]:
    return Column(name, TIMESTAMP(timezone=True), **options)


jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    # Queued and due: the claim looks at nothing else, so jobs scheduled for later never slow it down.
    Column("ready", Boolean, nullable=False),
    Column("cost", Double, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("claims", Integer, nullable=False, server_default=_ZERO),
    Column("failures", Integer, nullable=False, server_default=_ZERO),
    Column("evictions", Integer, nullable=False, server_default=_ZERO),
    Column("step", Integer, nullable=False, server_default=_ZERO),
    Column("stage", Text),
    # The claim that holds the job, or that ended it.
    Column("token", Uuid),
    Column("cluster", Text),
    Column("worker", Text),
    Column("incarnation", Text),
    _time("claimed_at"),
    _time("created_at", nullable=False, server_default=_NOW),
    _time("run_at", nullable=False, server_default=_NOW),
    _time("deadline", nullable=False, server_default=text("'infinity'")),
    _time("started_at"),
    _time("finished_at"),
    _time("cancel_requested_at"),
    _time("deleted_at"),
    _time("swept_at"),
    Column("spec", JSONB, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("failure", JSONB),
    Column("result", JSONB),
    # One frame of the running claim's render, in S3.
    Column("preview", JSONB),
    # A repeated request carries the key of the first; the hash tells it from another request under the same key.
    Column("idempotency_key", Text),
    Column("request_hash", Text),
    # The content hash of the image that the video begins at: what keeps that input from being swept.
    Column("input", Text),
    CheckConstraint("state IN ('held', 'queued', 'running', 'succeeded', 'failed', 'cancelled')", name="jobs_state"),
    CheckConstraint("NOT ready OR state = 'queued'", name="jobs_ready_is_queued"),
    CheckConstraint("num_nulls(token, cluster, worker, incarnation, claimed_at) IN (0, 5)", name="jobs_claim_is_whole"),
    CheckConstraint("state NOT IN ('running', 'succeeded') OR token IS NOT NULL", name="jobs_running_is_claimed"),
    CheckConstraint("state NOT IN ('held', 'queued') OR token IS NULL", name="jobs_waiting_is_unclaimed"),
    CheckConstraint(
        "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="jobs_ended_is_finished"
    ),
    CheckConstraint("(state = 'succeeded') = (result IS NOT NULL)", name="jobs_succeeded_has_result"),
    CheckConstraint("(state = 'failed') = (failure IS NOT NULL)", name="jobs_failed_has_failure"),
    CheckConstraint(
        "claims >= 0 AND failures >= 0 AND evictions >= 0 AND failures + evictions <= claims", name="jobs_counters"
    ),
    CheckConstraint("idempotency_key IS NULL OR request_hash IS NOT NULL", name="jobs_key_has_hash"),
    CheckConstraint("cost >= 0 AND max_attempts >= 1 AND priority >= 0 AND step >= 0", name="jobs_ranges"),
    postgresql_with=_HOT,
)

# A lane's jobs in the order of their claim.
Index(
    "jobs_ready", jobs.c.pool, jobs.c.priority, jobs.c.tenant, jobs.c.deadline, jobs.c.id,
    postgresql_where=jobs.c.ready, postgresql_include=["run_at"],
)  # fmt: skip
Index(
    "jobs_waiting", jobs.c.state, jobs.c.run_at, postgresql_include=["pool"],
    postgresql_where=text("state IN ('held', 'queued') AND NOT ready"),
)  # fmt: skip
Index("jobs_running", jobs.c.cluster, postgresql_where=text("state = 'running'"))
Index(
    "jobs_cancel_requested", jobs.c.cluster,
    postgresql_where=text("state = 'running' AND cancel_requested_at IS NOT NULL"),
)  # fmt: skip
Index("jobs_listing", jobs.c.tenant, jobs.c.id, postgresql_where=text("deleted_at IS NULL"))
Index("jobs_finished", jobs.c.finished_at, postgresql_where=text("finished_at IS NOT NULL"))
Index(
    "jobs_deleted", jobs.c.deleted_at, postgresql_where=text("deleted_at IS NOT NULL AND finished_at IS NOT NULL")
)  # fmt: skip
Index(
    "jobs_losers", jobs.c.finished_at,
    postgresql_where=text(
        "finished_at IS NOT NULL AND swept_at IS NULL AND (claims > 1 OR claims = 1 AND state <> 'succeeded')"
    ),
)  # fmt: skip

# What a tenant has in the queue and on GPUs, for its limits. Told by `coalesce`, which no other statement says: a plain
# `finished_at IS NULL` would attract statements about one job, as long as there are no statistics.
Index(
    "jobs_live", jobs.c.tenant, jobs.c.state,
    postgresql_where=text("coalesce(finished_at, 'infinity') = 'infinity'"),
)  # fmt: skip
Index(
    "jobs_idempotency", jobs.c.tenant, jobs.c.idempotency_key, unique=True,
    postgresql_where=text("idempotency_key IS NOT NULL AND deleted_at IS NULL"),
)  # fmt: skip
Index("jobs_input", jobs.c.input, postgresql_where=text("input IS NOT NULL"))

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("token", Uuid, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("gpu_seconds", Double, nullable=False),
    _time("claimed_at", nullable=False),
    _time("ended_at", nullable=False, server_default=_NOW),
    Column("failure", JSONB),
    # A claim number is never used twice and ends once; that also makes the token unique within its job.
    PrimaryKeyConstraint("job_id", "number"),
    CheckConstraint("number >= 1 AND gpu_seconds >= 0", name="attempts_ranges"),
    CheckConstraint(
        "outcome IN ('succeeded', 'failed', 'lost', 'evicted', 'released', 'cancelled')", name="attempts_outcome"
    ),
)

lanes = Table(
    "lanes",
    metadata,
    Column("pool", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("weight", Double, nullable=False),
    # Virtual time: GPU seconds used, divided by the weight.
    Column("vtime", Double, nullable=False, server_default=_ZERO),
    # The start tag of the last job that was claimed from it.
    Column("served", Double, nullable=False, server_default=_ZERO),
    # The last job that was claimed from it, and when its jobs were last read from the first one on.
    _time("cursor_deadline", nullable=False, server_default=text("'-infinity'")),
    Column("cursor_id", Uuid, nullable=False, server_default=text("'00000000-0000-0000-0000-000000000000'")),
    _time("cursor_at", nullable=False, server_default=text("'-infinity'")),
    # Had ready jobs when a claim last looked. Only the claim writes this.
    Column("active", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("pool", "priority", "tenant"),
    CheckConstraint("weight > 0", name="lanes_weight"),
    # The emptiest pages there are: while some transaction keeps every version alive, they pile up, and reading past
    # them is cheap only as long as they stay on their row's page.
    postgresql_with={
        "fillfactor": 10,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 2000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)

workers = Table(
    "workers",
    metadata,
    Column("cluster", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("beat", BigInteger, nullable=False, server_default=_ZERO),
    _time("beat_at", nullable=False, server_default=_NOW),
    Column("alive", Boolean, nullable=False, server_default=text("true")),
    PrimaryKeyConstraint("cluster", "name", "incarnation"),
    postgresql_with=_HOT,
)

dispatchers = Table(
    "dispatchers",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

# What was used, for ever: rows outlive their jobs and are never changed.
usage = Table(
    "usage",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("job_id", Uuid, nullable=False),
    Column("claim", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("gpu_seconds", Double, nullable=False),
    _time("at", nullable=False, server_default=_NOW),
    CheckConstraint("gpu_seconds > 0", name="usage_positive"),
)
Index("usage_of_tenant", usage.c.tenant, usage.c.at, postgresql_include=["gpu_seconds"])

# What the world should be told, until `deliveries` holds it. About a job or about a batch.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("job_id", Uuid),
    Column("batch_id", Text),
    Column("tenant", Text, nullable=False),
    Column("event", Text, nullable=False),
    # The URL that the job's request named. Kept here, since the job itself may be swept before this is read.
    Column("webhook_url", Text),
    _time("at", nullable=False, server_default=_NOW),
    CheckConstraint("num_nonnulls(job_id, batch_id) = 1", name="outbox_has_subject"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("name", Text, primary_key=True),
    Column("weight", Double, nullable=False, server_default=text("1")),
    # Limits; null means the configuration's default, infinity that there is none.
    Column("requests_per_s", Double),
    Column("queued", Double),
    Column("running", Double),
    Column("gpu_seconds_per_day", Double),
    Column("largest_request", Double),
    # Which of the secrets derived from the master key signs the deliveries to URLs that requests name.
    Column("secret_generation", Integer, nullable=False, server_default=text("1")),
    _time("previous_secret_until"),
    _time("created_at", nullable=False, server_default=_NOW),
    CheckConstraint("weight > 0", name="tenants_weight"),
    CheckConstraint(
        "requests_per_s > 0 AND queued >= 0 AND running >= 0 AND gpu_seconds_per_day >= 0 AND largest_request > 0",
        name="tenants_limits",
    ),
)
# Whether there is any such tenant is asked by every claim.
Index("tenants_capped", tenants.c.name, postgresql_where=text("running IS NOT NULL"))

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    _time("created_at", nullable=False, server_default=_NOW),
    _time("revoked_at"),
)

deployment = Table(
    "deployment",
    metadata,
    # The primary key of a table that can have one row only.
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("id", Text, nullable=False),
    _time("created_at", nullable=False, server_default=_NOW),
    CheckConstraint("singleton", name="deployment_is_one"),
)

# Images that videos begin at, by content. `dying_at`: the sweeper has decided, and nobody may begin to use it.
inputs = Table(
    "inputs",
    metadata,
    Column("key", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content_type", Text, nullable=False),
    _time("used_at", nullable=False, server_default=_NOW),
    _time("dying_at"),
)
Index("inputs_content", inputs.c.sha256, unique=True, postgresql_where=text("dying_at IS NULL"))
Index("inputs_idle", inputs.c.used_at, postgresql_where=text("dying_at IS NULL"))
Index("inputs_dying", inputs.c.dying_at, postgresql_where=text("dying_at IS NOT NULL"))

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("key", Text, nullable=False),
    _time("created_at", nullable=False, server_default=_NOW),
    _time("expires_at"),
    _time("deleted_at"),
    CheckConstraint("size >= 0", name="files_size"),
)
# Ids are UUIDv7: their order is the order of creation.
Index("files_listing", files.c.tenant, files.c.id, postgresql_where=text("deleted_at IS NULL"))
Index("files_deleted", files.c.deleted_at, postgresql_where=text("deleted_at IS NOT NULL"))
Index("files_expiry", files.c.expires_at, postgresql_where=text("expires_at IS NOT NULL AND deleted_at IS NULL"))

# Many requests in one file. `dialect` says how its lines are read and answered.
batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("completion_window", Text, nullable=False),
    Column("input_file", Text, nullable=False),
    Column("output_file", Text),
    Column("error_file", Text),
    Column("delete_input", Boolean, nullable=False, server_default=text("false")),
    Column("output_expires_s", Double),
    Column("status", Text, nullable=False),
    Column("errors", JSONB),
    Column("metadata", JSONB),
    # Lines: all of them, and those that ended in a video or without one.
    Column("total", Integer, nullable=False, server_default=_ZERO),
    Column("completed", Integer, nullable=False, server_default=_ZERO),
    Column("failed", Integer, nullable=False, server_default=_ZERO),
    _time("created_at", nullable=False, server_default=_NOW),
    _time("expires_at", nullable=False),
    _time("in_progress_at"),
    _time("finalizing_at"),
    _time("completed_at"),
    _time("failed_at"),
    _time("expired_at"),
    _time("cancelling_at"),
    _time("cancelled_at"),
    # The last of the times above, once nothing more will happen; then its items go, and later the row.
    _time("ended_at"),
    # Who works on it, and until when nobody else does. Without a lease that is until when it rests.
    Column("lease", Uuid),
    _time("leased_until"),
    CheckConstraint(
        "status IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', "
        "'cancelled')",
        name="batches_status",
    ),
    CheckConstraint("completed >= 0 AND failed >= 0 AND completed + failed <= total", name="batches_counts"),
    CheckConstraint(
        "(status IN ('failed', 'completed', 'expired', 'cancelled')) = (ended_at IS NOT NULL)", name="batches_ended_at"
    ),
)
Index("batches_listing", batches.c.tenant, batches.c.id)
Index("batches_ended", batches.c.ended_at, postgresql_where=text("ended_at IS NOT NULL"))
Index(
    "batches_live", batches.c.created_at,
    postgresql_where=text("status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"),
)  # fmt: skip

# One request of a batch or, later, of a campaign. Its job's id is fixed before the job exists, so that submitting it
# again does nothing. `body` is JSON as its caller wrote it; `error` is why there is no job, or none any more.
batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("custom_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("error", JSONB),
    PrimaryKeyConstraint("batch_id", "line"),
    CheckConstraint("state IN ('waiting', 'submitted', 'ended')", name="batch_items_state"),
)
Index("batch_items_state", batch_items.c.batch_id, batch_items.c.state, batch_items.c.line)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("event_types", JSONB, nullable=False),
    Column("secret_generation", Integer, nullable=False, server_default=text("1")),
    _time("previous_secret_until"),
    _time("created_at", nullable=False, server_default=_NOW),
    _time("updated_at", nullable=False, server_default=_NOW),
    # Its receiver said that it is gone for good.
    _time("disabled_at"),
)
Index("webhook_endpoints_of_tenant", webhook_endpoints.c.tenant, webhook_endpoints.c.id)

# One event for one URL. `event_id` is the `webhook-id`, the same on every try. Due by `next_at`; a try holds a lease,
# which also says at which host it is in flight.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    # None for a URL that a request named.
    Column("endpoint_id", Text),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=_ZERO),
    _time("created_at", nullable=False, server_default=_NOW),
    _time("next_at", nullable=False, server_default=_NOW),
    _time("give_up_at", nullable=False),
    Column("lease", Uuid),
    Column("lease_host", Text),
    _time("leased_until"),
    Column("last_status", Integer),
    Column("last_error", Text),
    _time("ended_at"),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="deliveries_state"),
    CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="deliveries_ended"),
    CheckConstraint("num_nulls(lease, lease_host, leased_until) IN (0, 3)", name="deliveries_lease_is_whole"),
    CheckConstraint("attempts >= 0", name="deliveries_attempts"),
    postgresql_with=_HOT,
)
# A lane of deliveries: those of one tenant to one host.
Index(
    "deliveries_due", deliveries.c.host, deliveries.c.tenant, deliveries.c.next_at,
    postgresql_where=text("state = 'pending'"), postgresql_include=["created_at"],
)  # fmt: skip
Index(
    "deliveries_in_flight", deliveries.c.lease_host, deliveries.c.tenant, postgresql_where=text("lease IS NOT NULL")
)  # fmt: skip
Index("deliveries_listing", deliveries.c.tenant, deliveries.c.id)
Index("deliveries_listing_by_state", deliveries.c.tenant, deliveries.c.state, deliveries.c.id)
Index(
    "deliveries_of_endpoint", deliveries.c.endpoint_id, deliveries.c.id,
    postgresql_where=text("endpoint_id IS NOT NULL"),
)  # fmt: skip
Index("deliveries_old", deliveries.c.ended_at, postgresql_where=text("ended_at IS NOT NULL"))
