"""The front door's schema: limits, idempotency, inputs, files, batches, webhooks."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE jobs
    ADD COLUMN preview jsonb,
    ADD COLUMN idempotency_key text,
    ADD COLUMN request_hash text,
    ADD COLUMN input text,
    ADD CONSTRAINT jobs_key_has_hash CHECK (idempotency_key IS NULL OR request_hash IS NOT NULL);

ALTER TABLE outbox
    ALTER COLUMN job_id DROP NOT NULL,
    ADD COLUMN batch_id text,
    ADD COLUMN webhook_url text,
    ADD CONSTRAINT outbox_has_subject CHECK (num_nonnulls(job_id, batch_id) = 1);

ALTER TABLE tenants
    ADD COLUMN requests_per_s double precision,
    ADD COLUMN queued double precision,
    ADD COLUMN running double precision,
    ADD COLUMN gpu_seconds_per_day double precision,
    ADD COLUMN largest_request double precision,
    ADD COLUMN secret_generation integer DEFAULT 1 NOT NULL,
    ADD COLUMN previous_secret_until timestamptz,
    ADD CONSTRAINT tenants_limits CHECK (requests_per_s > 0 AND queued >= 0 AND running >= 0
        AND gpu_seconds_per_day >= 0 AND largest_request > 0);
"""

TABLES = """
CREATE TABLE inputs (
    key text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    content_type text NOT NULL,
    used_at timestamptz DEFAULT cogmill_now() NOT NULL,
    dying_at timestamptz,
    PRIMARY KEY (key)
);

CREATE TABLE files (
    id text NOT NULL,
    tenant text NOT NULL,
    purpose text NOT NULL,
    filename text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    content_type text NOT NULL,
    key text NOT NULL,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    expires_at timestamptz,
    deleted_at timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT files_size CHECK (size >= 0)
);

CREATE TABLE batches (
    id text NOT NULL,
    tenant text NOT NULL,
    dialect text NOT NULL,
    endpoint text NOT NULL,
    completion_window text NOT NULL,
    input_file text NOT NULL,
    output_file text,
    error_file text,
    delete_input boolean DEFAULT false NOT NULL,
    output_expires_s double precision,
    status text NOT NULL,
    errors jsonb,
    metadata jsonb,
    total integer DEFAULT 0 NOT NULL,
    completed integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    expires_at timestamptz NOT NULL,
    in_progress_at timestamptz,
    finalizing_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    expired_at timestamptz,
    cancelling_at timestamptz,
    cancelled_at timestamptz,
    ended_at timestamptz,
    lease uuid,
    leased_until timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT batches_status CHECK (status IN
        ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
    CONSTRAINT batches_counts CHECK (completed >= 0 AND failed >= 0 AND completed + failed <= total),
    CONSTRAINT batches_ended_at CHECK
        ((status IN ('failed', 'completed', 'expired', 'cancelled')) = (ended_at IS NOT NULL))
);

CREATE TABLE batch_items (
    batch_id text NOT NULL,
    line integer NOT NULL,
    custom_id text NOT NULL,
    body text NOT NULL,
    job_id uuid NOT NULL,
    state text DEFAULT 'waiting' NOT NULL,
    error jsonb,
    PRIMARY KEY (batch_id, line),
    CONSTRAINT batch_items_state CHECK (state IN ('waiting', 'submitted', 'ended'))
);

CREATE TABLE webhook_endpoints (
    id text NOT NULL,
    tenant text NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    host text NOT NULL,
    event_types jsonb NOT NULL,
    secret_generation integer DEFAULT 1 NOT NULL,
    previous_secret_until timestamptz,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    updated_at timestamptz DEFAULT cogmill_now() NOT NULL,
    disabled_at timestamptz,
    PRIMARY KEY (id)
);

CREATE TABLE deliveries (
    id uuid NOT NULL,
    event_id text NOT NULL,
    tenant text NOT NULL,
    endpoint_id text,
    url text NOT NULL,
    host text NOT NULL,
    event_type text NOT NULL,
    body text NOT NULL,
    state text DEFAULT 'pending' NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT cogmill_now() NOT NULL,
    next_at timestamptz DEFAULT cogmill_now() NOT NULL,
    give_up_at timestamptz NOT NULL,
    lease uuid,
    lease_host text,
    leased_until timestamptz,
    last_status integer,
    last_error text,
    ended_at timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT deliveries_state CHECK (state IN ('pending', 'delivered', 'failed')),
    CONSTRAINT deliveries_ended CHECK ((state = 'pending') = (ended_at IS NULL)),
    CONSTRAINT deliveries_lease_is_whole CHECK (num_nulls(lease, lease_host, leased_until) IN (0, 3)),
    CONSTRAINT deliveries_attempts CHECK (attempts >= 0)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);
"""

INDEXES = """
CREATE UNIQUE INDEX inputs_content ON inputs (sha256) WHERE dying_at IS NULL;
CREATE INDEX inputs_idle ON inputs (used_at) WHERE dying_at IS NULL;
CREATE INDEX inputs_dying ON inputs (dying_at) WHERE dying_at IS NOT NULL;
CREATE INDEX files_deleted ON files (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX files_expiry ON files (expires_at) WHERE expires_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX files_listing ON files (tenant, id) WHERE deleted_at IS NULL;
CREATE INDEX batches_listing ON batches (tenant, id);
CREATE INDEX batches_ended ON batches (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX batches_live ON batches (created_at) WHERE status IN (
    'validating', 'in_progress', 'finalizing', 'cancelling');
CREATE INDEX batch_items_state ON batch_items (batch_id, state, line);
CREATE INDEX webhook_endpoints_of_tenant ON webhook_endpoints (tenant, id);
CREATE INDEX deliveries_due ON deliveries (host, tenant, next_at) INCLUDE (created_at) WHERE state = 'pending';
CREATE INDEX deliveries_in_flight ON deliveries (lease_host, tenant) WHERE lease IS NOT NULL;
CREATE INDEX deliveries_listing ON deliveries (tenant, id);
CREATE INDEX deliveries_listing_by_state ON deliveries (tenant, state, id);
CREATE INDEX deliveries_of_endpoint ON deliveries (endpoint_id, id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX deliveries_old ON deliveries (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_live ON jobs (tenant, state) WHERE coalesce(finished_at, 'infinity') = 'infinity';
CREATE UNIQUE INDEX jobs_idempotency ON jobs (tenant, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX jobs_input ON jobs (input) WHERE input IS NOT NULL;
CREATE INDEX tenants_capped ON tenants (name) WHERE running IS NOT NULL;
CREATE INDEX usage_of_tenant ON usage (tenant, at) INCLUDE (gpu_seconds);
"""


def upgrade() -> None:
    # One by one: the driver prepares each statement.
    for script in (COLUMNS, TABLES, INDEXES):
        for statement in filter(str.strip, script.split(";")):
            op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("files, batches and deliveries would be lost: restore a backup instead")
