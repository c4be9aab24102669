"""Campaigns: rows under one roof, which batches are the plainest user of; budgets; what jobs and usage tell of both."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _columns()
    _tables()


def _columns() -> None:
    op.execute("""
        ALTER TABLE jobs
            ADD COLUMN campaign text,
            ADD COLUMN quiet boolean DEFAULT false NOT NULL,
            ADD COLUMN avoid text,
            ADD COLUMN avoid_until timestamptz
    """)
    op.execute("ALTER TABLE usage ADD COLUMN campaign text, ADD COLUMN model text, ADD COLUMN kept boolean")
    op.execute("CREATE INDEX usage_at ON usage USING brin (at) WITH (pages_per_range = 32)")
    op.execute("ALTER TABLE outbox ADD COLUMN detail jsonb")
    op.execute("""
        ALTER TABLE parked
            DROP CONSTRAINT parked_kind,
            ADD CONSTRAINT parked_kind CHECK (kind IN ('batch', 'campaign', 'event'))
    """)


def _tables() -> None:
    op.execute("""
        CREATE TABLE campaigns (
            id TEXT NOT NULL,
            number BIGINT GENERATED ALWAYS AS IDENTITY,
            kind TEXT NOT NULL,
            tenant TEXT NOT NULL,
            state TEXT NOT NULL,
            drained BOOLEAN DEFAULT false NOT NULL,
            pauses TEXT[] DEFAULT '{}' NOT NULL,
            version INTEGER DEFAULT 1 NOT NULL,
            ask JSONB NOT NULL,
            templates JSONB NOT NULL,
            generation INTEGER DEFAULT 0 NOT NULL,
            priority SMALLINT NOT NULL,
            max_running INTEGER,
            input JSONB,
            records INTEGER DEFAULT 0 NOT NULL,
            rows INTEGER DEFAULT 0 NOT NULL,
            bad INTEGER DEFAULT 0 NOT NULL,
            succeeded INTEGER DEFAULT 0 NOT NULL,
            failed INTEGER DEFAULT 0 NOT NULL,
            cancelled INTEGER DEFAULT 0 NOT NULL,
            dropped INTEGER DEFAULT 0 NOT NULL,
            waived INTEGER DEFAULT 0 NOT NULL,
            flagged INTEGER DEFAULT 0 NOT NULL,
            estimate JSONB DEFAULT '[]' NOT NULL,
            plan_token TEXT,
            approved_token TEXT,
            cap DOUBLE PRECISION,
            reserved DOUBLE PRECISION DEFAULT 0 NOT NULL,
            used DOUBLE PRECISION DEFAULT 0 NOT NULL,
            spent DOUBLE PRECISION DEFAULT 0 NOT NULL,
            reserved_money DOUBLE PRECISION DEFAULT 0 NOT NULL,
            fresh_succeeded INTEGER DEFAULT 0 NOT NULL,
            fresh_failed INTEGER DEFAULT 0 NOT NULL,
            first_failed INTEGER DEFAULT 0 NOT NULL,
            error JSONB,
            history JSONB DEFAULT '[]' NOT NULL,
            manifest JSONB,
            manifest_due BOOLEAN DEFAULT false NOT NULL,
            writer UUID,
            written_until TIMESTAMP WITH TIME ZONE,
            told_progress INTEGER DEFAULT 0 NOT NULL,
            told_budget INTEGER[] DEFAULT '{}' NOT NULL,
            idempotency_key TEXT,
            request_hash TEXT,
            schedule_of TEXT,
            next_run_at TIMESTAMP WITH TIME ZONE,
            run_at TIMESTAMP WITH TIME ZONE,
            deadline TIMESTAMP WITH TIME ZONE,
            created_at TIMESTAMP WITH TIME ZONE DEFAULT cogmill_now() NOT NULL,
            started_at TIMESTAMP WITH TIME ZONE,
            ended_at TIMESTAMP WITH TIME ZONE,
            deleted_at TIMESTAMP WITH TIME ZONE,
            lease UUID,
            leased_until TIMESTAMP WITH TIME ZONE,
            PRIMARY KEY (id),
            CONSTRAINT campaigns_kind CHECK (kind IN ('batch', 'campaign')),
            CONSTRAINT campaigns_state CHECK (state IN ('draft', 'ingesting', 'planned', 'sampling',
                'awaiting_approval', 'running', 'paused', 'finishing', 'completed', 'cancelled', 'failed')),
            CONSTRAINT campaigns_paused_has_reason CHECK ((state = 'paused') = (cardinality(pauses) > 0)),
            CONSTRAINT campaigns_ended_at CHECK (ended_at IS NULL OR state IN ('completed', 'cancelled', 'failed')),
            CONSTRAINT campaigns_counts CHECK (records >= 0 AND bad >= 0 AND succeeded >= 0 AND failed >= 0 AND
                cancelled >= 0 AND dropped >= 0 AND waived >= 0 AND flagged >= 0 AND succeeded + failed +
                cancelled + dropped + waived <= rows),
            CONSTRAINT campaigns_key_has_hash CHECK (idempotency_key IS NULL OR request_hash IS NOT NULL)
        )
        WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
              autovacuum_vacuum_cost_delay = 0)
    """)
    op.execute("CREATE INDEX campaigns_due ON campaigns (next_run_at) WHERE next_run_at IS NOT NULL")
    op.execute("CREATE INDEX campaigns_ended ON campaigns (ended_at) WHERE ended_at IS NOT NULL")
    op.execute("""
        CREATE UNIQUE INDEX campaigns_idempotency ON campaigns (tenant, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """)
    op.execute("CREATE INDEX campaigns_input ON campaigns (right(input ->> 'key', 37))")
    op.execute("CREATE INDEX campaigns_listing ON campaigns (tenant, id) WHERE kind = 'campaign'")
    op.execute("CREATE INDEX campaigns_live ON campaigns (state) WHERE ended_at IS NULL")
    op.execute("CREATE UNIQUE INDEX campaigns_number ON campaigns (number)")
    op.execute("""
        CREATE TABLE campaign_rows (
            campaign BIGINT NOT NULL,
            place INTEGER NOT NULL,
            line INTEGER NOT NULL,
            custom_id TEXT COLLATE "C" NOT NULL,
            body TEXT NOT NULL,
            reseed SMALLINT DEFAULT 0 NOT NULL,
            pass INTEGER DEFAULT 0 NOT NULL,
            outcome TEXT,
            result JSONB,
            PRIMARY KEY (campaign, place),
            CONSTRAINT campaign_rows_outcome CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'dropped',
                'waived')),
            CONSTRAINT campaign_rows_ended_has_result CHECK (outcome IS NULL OR result IS NOT NULL)
        )
        WITH (fillfactor = 90)
    """)
    op.execute("CREATE UNIQUE INDEX campaign_rows_custom_id ON campaign_rows (campaign, custom_id)")
    op.execute("""
        CREATE INDEX campaign_rows_ended ON campaign_rows (campaign, outcome, place) WHERE outcome IS NOT NULL
    """)
    op.execute("""
        CREATE TABLE campaign_bad_rows (
            campaign BIGINT NOT NULL,
            line INTEGER NOT NULL,
            custom_id TEXT,
            field TEXT,
            code TEXT NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (campaign, line)
        )
    """)
    op.execute("""
        CREATE TABLE campaign_jobs (
            campaign BIGINT NOT NULL,
            place INTEGER NOT NULL,
            pass INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            version INTEGER NOT NULL,
            job_id UUID NOT NULL,
            reserved DOUBLE PRECISION NOT NULL,
            price DOUBLE PRECISION DEFAULT 0 NOT NULL,
            day DATE NOT NULL,
            booked DOUBLE PRECISION DEFAULT 0 NOT NULL,
            PRIMARY KEY (campaign, place),
            CONSTRAINT campaign_jobs_ranges CHECK (reserved >= 0 AND price >= 0)
        )
        WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
              autovacuum_vacuum_cost_delay = 0)
    """)
    op.execute("CREATE UNIQUE INDEX campaign_jobs_job ON campaign_jobs (job_id)")
    op.execute("""
        CREATE TABLE campaign_passes (
            campaign BIGINT NOT NULL,
            number INTEGER NOT NULL,
            kind TEXT NOT NULL,
            places INTEGER[],
            cursor INTEGER DEFAULT 0 NOT NULL,
            overrides JSONB DEFAULT '{}' NOT NULL,
            done BOOLEAN DEFAULT false NOT NULL,
            put_off_at TIMESTAMP WITH TIME ZONE,
            PRIMARY KEY (campaign, number),
            CONSTRAINT campaign_passes_kind CHECK (kind IN ('sample', 'main', 'retry', 'promote'))
        )
        WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
              autovacuum_vacuum_cost_delay = 0)
    """)
    op.execute("""
        CREATE TABLE budgets (
            tenant TEXT NOT NULL,
            period TEXT NOT NULL,
            unit TEXT NOT NULL,
            amount DOUBLE PRECISION NOT NULL,
            actions JSONB DEFAULT '[]' NOT NULL,
            created_at TIMESTAMP WITH TIME ZONE DEFAULT cogmill_now() NOT NULL,
            PRIMARY KEY (tenant, period, unit),
            CONSTRAINT budgets_period CHECK (period IN ('day', 'month')),
            CONSTRAINT budgets_unit CHECK (unit IN ('gpu_seconds', 'money')),
            CONSTRAINT budgets_amount CHECK (amount >= 0)
        )
    """)
    op.execute("""
        CREATE TABLE spending (
            tenant TEXT NOT NULL,
            period TEXT NOT NULL,
            unit TEXT NOT NULL,
            since DATE NOT NULL,
            reserved DOUBLE PRECISION DEFAULT 0 NOT NULL,
            used DOUBLE PRECISION DEFAULT 0 NOT NULL,
            told INTEGER[] DEFAULT '{}' NOT NULL,
            PRIMARY KEY (tenant, period, unit, since)
        )
        WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
              autovacuum_vacuum_cost_delay = 0)
    """)


def downgrade() -> None:
    raise NotImplementedError("campaigns would be forgotten: restore a backup instead")
