"""The queue: jobs and their ended attempts, the lanes that they wait in, who renders, and what was used."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from orchestrator.store.tables.base import HOT, NOW, ZERO, metadata, moment

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
    Column("claims", Integer, nullable=False, server_default=ZERO),
    Column("failures", Integer, nullable=False, server_default=ZERO),
    Column("evictions", Integer, nullable=False, server_default=ZERO),
    Column("step", Integer, nullable=False, server_default=ZERO),
    Column("stage", Text),
    # The claim that holds the job, or that ended it.
    Column("token", Uuid),
    Column("cluster", Text),
    Column("worker", Text),
    Column("incarnation", Text),
    moment("claimed_at"),
    moment("created_at", nullable=False, server_default=NOW),
    moment("run_at", nullable=False, server_default=NOW),
    moment("deadline", nullable=False, server_default=text("'infinity'")),
    moment("started_at"),
    moment("finished_at"),
    moment("cancel_requested_at"),
    moment("deleted_at"),
    moment("swept_at"),
    Column("spec", JSONB, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("failure", JSONB),
    Column("result", JSONB),
    # One frame of the running claim's render, in S3.
    Column("preview", JSONB),
    # What befell the running claim's render, or the last one's; null is nothing.
    Column("incidents", JSONB),
    # Where the next claim goes on; JSON's null: nowhere. An ended job has it until the sweeper deleted its checkpoints.
    Column("checkpoint", JSONB),
    # A repeated request carries the key of the first; the hash tells it from another request under the same key.
    Column("idempotency_key", Text),
    Column("request_hash", Text),
    # The content hash of the image that the video begins at: what keeps that input from being swept.
    Column("input", Text),
    # The campaign or the batch that it is a row of; and whether its end is told to nobody but that one.
    Column("campaign", Text),
    Column("quiet", Boolean, nullable=False, server_default=text("false")),
    # The worker that failed it: until then another one may take it.
    Column("avoid", Text),
    moment("avoid_until"),
    # What its lane and its tenant's limits count for it; null is its cost.
    Column("charge", Double),
    # The id of the key that it was asked for with, as with the campaign or batch that it is a row of.
    Column("made_by", Text),
    # Where in which trace it was asked for (`domain/trace.py`); null where in none.
    Column("trace", Text),
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
    CheckConstraint("charge >= 0", name="jobs_charge"),
    postgresql_with=HOT,
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
# A job whose checkpoint changes while it runs pays with one index entry of each index; that is once a minute.
Index(
    "jobs_checkpointed", jobs.c.finished_at,
    postgresql_where=text("finished_at IS NOT NULL AND checkpoint IS NOT NULL"),
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
# Dead letters, and what else of any tenant's has failed.
Index("jobs_failed", jobs.c.id, postgresql_where=text("state = 'failed' AND deleted_at IS NULL"))
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
    moment("claimed_at", nullable=False),
    moment("ended_at", nullable=False, server_default=NOW),
    Column("failure", JSONB),
    # What a GPU second of its kind of worker cost when it ended; null of what has no price, and of earlier releases.
    Column("price", Double),
    # The stages that were seen of it (`domain/timeline.py`), in seconds since its claim.
    Column("timeline", JSONB),
    # A claim number is never used twice and ends once; that also makes the token unique within its job.
    PrimaryKeyConstraint("job_id", "number"),
    CheckConstraint("number >= 1 AND gpu_seconds >= 0", name="attempts_ranges"),
    CheckConstraint("price >= 0", name="attempts_price"),
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
    # Virtual time: what was charged, divided by the weight.
    Column("vtime", Double, nullable=False, server_default=ZERO),
    # The start tag of the last job that was claimed from it.
    Column("served", Double, nullable=False, server_default=ZERO),
    # The last job that was claimed from it, and when its jobs were last read from the first one on.
    moment("cursor_deadline", nullable=False, server_default=text("'-infinity'")),
    Column("cursor_id", Uuid, nullable=False, server_default=text("'00000000-0000-0000-0000-000000000000'")),
    moment("cursor_at", nullable=False, server_default=text("'-infinity'")),
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
    Column("beat", BigInteger, nullable=False, server_default=ZERO),
    moment("beat_at", nullable=False, server_default=NOW),
    Column("alive", Boolean, nullable=False, server_default=text("true")),
    PrimaryKeyConstraint("cluster", "name", "incarnation"),
    postgresql_with=HOT,
)

# How workers stand with their models, as their dispatcher sees it (`domain/loading.py`).
worker_loads = Table(
    "worker_loads",
    metadata,
    Column("cluster", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    # LoRA adapters in its memory.
    Column("adapters", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    moment("told_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("cluster", "worker"),
    CheckConstraint("state IN ('starting', 'loading', 'loaded', 'broken')", name="worker_loads_state"),
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
    moment("at", nullable=False, server_default=NOW),
    # The campaign or batch, and the model; rows of earlier releases have neither.
    Column("campaign", Text),
    Column("model", Text),
    # Of an evicted attempt: it left a checkpoint that is further on.
    Column("kept", Boolean),
    # Of the worker: empty where its pool has workers of one kind, null in rows of earlier releases.
    Column("kind", Text),
    # What limits count; null is the GPU seconds. The ledger adds up those alone.
    Column("charge", Double),
    CheckConstraint("gpu_seconds > 0", name="usage_positive"),
    CheckConstraint("charge > gpu_seconds", name="usage_charge"),
)
Index("usage_at", usage.c.at, postgresql_using="brin", postgresql_with={"pages_per_range": 32})
Index("usage_of_tenant", usage.c.tenant, usage.c.at, postgresql_include=["gpu_seconds"])
# What finishing added, of the few attempts that it did of: so that the index above goes on to answer alone.
Index(
    "usage_charged", usage.c.tenant, usage.c.at, postgresql_include=["gpu_seconds", "charge"],
    postgresql_where=text("charge IS NOT NULL"),
)  # fmt: skip
