"""The first schema: jobs, attempts, lanes, workers, usage, outbox, tenants and keys."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# STABLE and plain SQL, so that the planner inlines it and compares indexes with it.
CLOCK = """
CREATE FUNCTION cogmill_now() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN statement_timestamp();
"""

TABLES = """
CREATE TABLE jobs (
    id uuid NOT NULL,
    tenant text NOT NULL,
    pool text NOT NULL,
    priority smallint NOT NULL,
    state text NOT NULL,
    ready boolean NOT NULL,
    cost double precision NOT NULL,
    max_attempts integer NOT NULL,
    claims integer DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    evictions integer DEFAULT 0 NOT NULL,
    step integer DEFAULT 0 NOT NULL,
    stage text,
    token uuid,
    cluster text,
    worker text,
    incarnation text,
    claimed_at timestamptz,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    run_at timestamptz DEFAULT cogmill_now() NOT NULL,
    deadline timestamptz DEFAULT 'infinity' NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    cancel_requested_at timestamptz,
    deleted_at timestamptz,
    swept_at timestamptz,
    spec jsonb NOT NULL,
    request jsonb NOT NULL,
    failure jsonb,
    result jsonb,
    PRIMARY KEY (id),
    CONSTRAINT jobs_state CHECK (state IN ('held', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT jobs_ready_is_queued CHECK (NOT ready OR state = 'queued'),
    CONSTRAINT jobs_claim_is_whole CHECK (num_nulls(token, cluster, worker, incarnation, claimed_at) IN (0, 5)),
    CONSTRAINT jobs_running_is_claimed CHECK (state NOT IN ('running', 'succeeded') OR token IS NOT NULL),
    CONSTRAINT jobs_waiting_is_unclaimed CHECK (state NOT IN ('held', 'queued') OR token IS NULL),
    CONSTRAINT jobs_ended_is_finished
        CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT jobs_succeeded_has_result CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CONSTRAINT jobs_failed_has_failure CHECK ((state = 'failed') = (failure IS NOT NULL)),
    CONSTRAINT jobs_counters
        CHECK (claims >= 0 AND failures >= 0 AND evictions >= 0 AND failures + evictions <= claims),
    CONSTRAINT jobs_ranges CHECK (cost >= 0 AND max_attempts >= 1 AND priority >= 0 AND step >= 0)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX jobs_cancel_requested ON jobs (cluster)
    WHERE state = 'running' AND cancel_requested_at IS NOT NULL;
CREATE INDEX jobs_deleted ON jobs (deleted_at) WHERE deleted_at IS NOT NULL AND finished_at IS NOT NULL;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_listing ON jobs (tenant, id) WHERE deleted_at IS NULL;
CREATE INDEX jobs_losers ON jobs (finished_at)
    WHERE finished_at IS NOT NULL AND swept_at IS NULL AND (claims > 1 OR claims = 1 AND state <> 'succeeded');
CREATE INDEX jobs_ready ON jobs (pool, priority, tenant, deadline, id) INCLUDE (run_at) WHERE ready;
CREATE INDEX jobs_running ON jobs (cluster) WHERE state = 'running';
CREATE INDEX jobs_waiting ON jobs (state, run_at) INCLUDE (pool)
    WHERE state IN ('held', 'queued') AND NOT ready;

CREATE TABLE attempts (
    job_id uuid NOT NULL,
    number integer NOT NULL,
    token uuid NOT NULL,
    cluster text NOT NULL,
    worker text NOT NULL,
    incarnation text NOT NULL,
    outcome text NOT NULL,
    gpu_seconds double precision NOT NULL,
    claimed_at timestamptz NOT NULL,
    ended_at timestamptz DEFAULT cogmill_now() NOT NULL,
    failure jsonb,
    PRIMARY KEY (job_id, number),
    CONSTRAINT attempts_ranges CHECK (number >= 1 AND gpu_seconds >= 0),
    CONSTRAINT attempts_outcome CHECK (outcome IN ('succeeded', 'failed', 'lost', 'evicted', 'released', 'cancelled'))
);

CREATE TABLE lanes (
    pool text NOT NULL,
    priority smallint NOT NULL,
    tenant text NOT NULL,
    weight double precision NOT NULL,
    vtime double precision DEFAULT 0 NOT NULL,
    served double precision DEFAULT 0 NOT NULL,
    cursor_deadline timestamptz DEFAULT '-infinity' NOT NULL,
    cursor_id uuid DEFAULT '00000000-0000-0000-0000-000000000000' NOT NULL,
    cursor_at timestamptz DEFAULT '-infinity' NOT NULL,
    active boolean DEFAULT false NOT NULL,
    PRIMARY KEY (pool, priority, tenant),
    CONSTRAINT lanes_weight CHECK (weight > 0)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);

CREATE TABLE workers (
    cluster text NOT NULL,
    name text NOT NULL,
    incarnation text NOT NULL,
    pool text NOT NULL,
    beat bigint DEFAULT 0 NOT NULL,
    beat_at timestamptz DEFAULT cogmill_now() NOT NULL,
    alive boolean DEFAULT true NOT NULL,
    PRIMARY KEY (cluster, name, incarnation)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

CREATE TABLE dispatchers (
    cluster text NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (cluster)
);

CREATE TABLE usage (
    id bigint GENERATED ALWAYS AS IDENTITY,
    job_id uuid NOT NULL,
    claim integer NOT NULL,
    tenant text NOT NULL,
    pool text NOT NULL,
    outcome text NOT NULL,
    gpu_seconds double precision NOT NULL,
    at timestamptz DEFAULT cogmill_now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT usage_positive CHECK (gpu_seconds > 0)
);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    job_id uuid NOT NULL,
    tenant text NOT NULL,
    event text NOT NULL,
    at timestamptz DEFAULT cogmill_now() NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE tenants (
    name text NOT NULL,
    weight double precision DEFAULT 1 NOT NULL,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT tenants_weight CHECK (weight > 0)
);

CREATE TABLE keys (
    id text NOT NULL,
    tenant text NOT NULL,
    name text NOT NULL,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (id)
);

CREATE TABLE deployment (
    singleton boolean DEFAULT true NOT NULL,
    id text NOT NULL,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    PRIMARY KEY (singleton),
    CONSTRAINT deployment_is_one CHECK (singleton)
);
"""

# Random, so that two deployments on one Ray cluster never share a namespace.
DEPLOYMENT = "INSERT INTO deployment (id) VALUES (replace(gen_random_uuid()::text, '-', ''))"


def upgrade() -> None:
    op.execute(CLOCK)
    for statement in TABLES.split(";"):
        if statement.strip():
            op.execute(statement)
    op.execute(DEPLOYMENT)


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing before it: drop the database instead")
