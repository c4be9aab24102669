"""Many rows under one roof: campaigns, and batches as the plainest of them; their rows, and which have a job."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from orchestrator.store.tables.base import HOT, NOW, ZERO, metadata, moment

# `domain/campaign.py` explains what `Campaign` has, too. A batch has its own face beside it, in `batches`.
campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Text, primary_key=True),
    # What rows refer to: eight bytes, a million times.
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("drained", Boolean, nullable=False, server_default=text("false")),
    Column("pauses", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("ask", JSONB, nullable=False),
    Column("templates", JSONB, nullable=False),
    Column("generation", Integer, nullable=False, server_default=ZERO),
    Column("priority", SmallInteger, nullable=False),
    Column("max_running", Integer),
    Column("input", JSONB),
    Column("records", Integer, nullable=False, server_default=ZERO),
    Column("rows", Integer, nullable=False, server_default=ZERO),
    Column("bad", Integer, nullable=False, server_default=ZERO),
    Column("succeeded", Integer, nullable=False, server_default=ZERO),
    Column("failed", Integer, nullable=False, server_default=ZERO),
    Column("cancelled", Integer, nullable=False, server_default=ZERO),
    Column("dropped", Integer, nullable=False, server_default=ZERO),
    Column("waived", Integer, nullable=False, server_default=ZERO),
    Column("flagged", Integer, nullable=False, server_default=ZERO),
    # Bytes of its rows' bodies.
    Column("bytes", BigInteger, nullable=False, server_default=ZERO),
    # What never began of one that has ended is still to be freed.
    Column("holds", Boolean, nullable=False, server_default=text("true")),
    Column("estimate", JSONB, nullable=False, server_default=text("'[]'")),
    Column("plan_token", Text),
    Column("approved_token", Text),
    Column("cap", Double),
    Column("reserved", Double, nullable=False, server_default=ZERO),
    Column("used", Double, nullable=False, server_default=ZERO),
    Column("spent", Double, nullable=False, server_default=ZERO),
    Column("reserved_money", Double, nullable=False, server_default=ZERO),
    Column("fresh_succeeded", Integer, nullable=False, server_default=ZERO),
    Column("fresh_failed", Integer, nullable=False, server_default=ZERO),
    Column("first_failed", Integer, nullable=False, server_default=ZERO),
    Column("error", JSONB),
    Column("history", JSONB, nullable=False, server_default=text("'[]'")),
    Column("manifest", JSONB),
    # A new revision of it is wanted; who writes that, and until when nobody else does.
    Column("manifest_due", Boolean, nullable=False, server_default=text("false")),
    Column("writer", Uuid),
    moment("written_until"),
    # The percentages that the world has heard of: of the rows, and of the budget.
    Column("told_progress", Integer, nullable=False, server_default=ZERO),
    Column("told_budget", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    Column("idempotency_key", Text),
    Column("request_hash", Text),
    Column("schedule_of", Text),
    moment("next_run_at"),
    moment("run_at"),
    moment("deadline"),
    moment("created_at", nullable=False, server_default=NOW),
    moment("started_at"),
    moment("ended_at"),
    # Hidden from its owner; its rows and then itself are deleted later.
    moment("deleted_at"),
    # Who works on it, and until when nobody else does. Without a lease that is until when it rests.
    Column("lease", Uuid),
    moment("leased_until"),
    Column("made_by", Text),
    # Where in which trace it was asked for; the traces of its rows link to it.
    Column("trace", Text),
    CheckConstraint("kind IN ('batch', 'campaign')", name="campaigns_kind"),
    CheckConstraint(
        "state IN ('draft', 'ingesting', 'planned', 'sampling', 'awaiting_approval', 'running', 'paused', 'finishing', "
        "'completed', 'cancelled', 'failed')",
        name="campaigns_state",
    ),
    CheckConstraint("(state = 'paused') = (cardinality(pauses) > 0)", name="campaigns_paused_has_reason"),
    CheckConstraint("ended_at IS NULL OR state IN ('completed', 'cancelled', 'failed')", name="campaigns_ended_at"),
    CheckConstraint(
        "records >= 0 AND bad >= 0 AND succeeded >= 0 AND failed >= 0 AND cancelled >= 0 AND dropped >= 0 "
        "AND waived >= 0 AND flagged >= 0 AND succeeded + failed + cancelled + dropped + waived <= rows",
        name="campaigns_counts",
    ),
    CheckConstraint("idempotency_key IS NULL OR request_hash IS NOT NULL", name="campaigns_key_has_hash"),
    postgresql_with=HOT,
)
Index("campaigns_number", campaigns.c.number, unique=True)
# Ids are UUIDv7: their order is the order of creation.
Index("campaigns_listing", campaigns.c.tenant, campaigns.c.id, postgresql_where=text("kind = 'campaign'"))
Index(
    "campaigns_idempotency", campaigns.c.tenant, campaigns.c.idempotency_key, unique=True,
    postgresql_where=text("idempotency_key IS NOT NULL"),
)  # fmt: skip
# What counts against a tenant's quotas; and what is to be freed.
Index("campaigns_held", campaigns.c.tenant, postgresql_where=text("ended_at IS NULL OR holds"))
Index("campaigns_to_free", campaigns.c.ended_at, postgresql_where=text("ended_at IS NOT NULL AND holds"))
Index("campaigns_live", campaigns.c.state, postgresql_where=text("ended_at IS NULL"))
Index("campaigns_ended", campaigns.c.ended_at, postgresql_where=text("ended_at IS NOT NULL"))
# The id of the file that it was put to, and where none was, of the object itself.
Index("campaigns_input", func.right(campaigns.c.input["key"].astext, 37))
Index("campaigns_due", campaigns.c.next_run_at, postgresql_where=text("next_run_at IS NOT NULL"))

# One wish each: written when it is taken in, and when it ends. `place` counts from 0 over what is good, `line` over the
# input. `pass` is the one that ended it.
campaign_rows = Table(
    "campaign_rows",
    metadata,
    Column("campaign", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("custom_id", Text(collation="C"), nullable=False),
    # JSON: a campaign's variables and parameters. Of a batch's request nothing, but where in its file the line lies,
    # from which byte on and how many; those that earlier releases have taken in have a copy.
    Column("body", Text, nullable=False),
    Column("input_at", BigInteger),
    Column("input_size", Integer),
    Column("reseed", SmallInteger, nullable=False, server_default=ZERO),
    Column("pass", Integer, nullable=False, server_default=ZERO),
    Column("outcome", Text),
    # What came of it: job, error, where the video is, what it cost.
    Column("result", JSONB),
    PrimaryKeyConstraint("campaign", "place"),
    CheckConstraint(
        "outcome IN ('succeeded', 'failed', 'cancelled', 'dropped', 'waived')", name="campaign_rows_outcome"
    ),
    CheckConstraint("outcome IS NULL OR result IS NOT NULL", name="campaign_rows_ended_has_result"),
    # A row is rewritten once or twice in its life; a million dead ones at once are not worth the room on every page.
    postgresql_with={"fillfactor": 90},
)
Index("campaign_rows_custom_id", campaign_rows.c.campaign, campaign_rows.c.custom_id, unique=True)
Index(
    "campaign_rows_ended", campaign_rows.c.campaign, campaign_rows.c.outcome, campaign_rows.c.place,
    postgresql_where=text("outcome IS NOT NULL"),
)  # fmt: skip

# Lines of the input that are no rows, and why.
campaign_bad_rows = Table(
    "campaign_bad_rows",
    metadata,
    Column("campaign", BigInteger, nullable=False),
    Column("line", Integer, nullable=False),
    Column("custom_id", Text),
    Column("field", Text),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("campaign", "line"),
)

# The window: rows that have a job which is not settled yet, and what is spoken for on their behalf.
campaign_jobs = Table(
    "campaign_jobs",
    metadata,
    Column("campaign", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Column("pass", Integer, nullable=False),
    # Where its pass comes to it: how far back the cursor goes when the job is taken away again.
    Column("ordinal", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("job_id", Uuid, nullable=False),
    # GPU seconds that are spoken for; what one costs; and the day that they are charged to.
    Column("reserved", Double, nullable=False),
    Column("price", Double, nullable=False, server_default=ZERO),
    Column("day", Date, nullable=False),
    # GPU seconds that its attempts have used and that are charged already.
    Column("booked", Double, nullable=False, server_default=ZERO),
    PrimaryKeyConstraint("campaign", "place"),
    CheckConstraint("reserved >= 0 AND price >= 0", name="campaign_jobs_ranges"),
    postgresql_with=HOT,
)
Index("campaign_jobs_job", campaign_jobs.c.job_id, unique=True)

campaign_passes = Table(
    "campaign_passes",
    metadata,
    Column("campaign", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("places", ARRAY(Integer)),
    Column("cursor", Integer, nullable=False, server_default=ZERO),
    Column("overrides", JSONB, nullable=False, server_default=text("'{}'")),
    Column("done", Boolean, nullable=False, server_default=text("false")),
    # Since when the cursor stands at a row that needs what does not answer.
    moment("put_off_at"),
    PrimaryKeyConstraint("campaign", "number"),
    CheckConstraint("kind IN ('sample', 'main', 'retry', 'promote')", name="campaign_passes_kind"),
    postgresql_with=HOT,
)

# What a tenant may use in each day or month (UTC). A campaign's own budget stands in its `ask`.
budgets = Table(
    "budgets",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", Double, nullable=False),
    # `[{"percent": 80, "do": "tell"}]`.
    Column("actions", JSONB, nullable=False, server_default=text("'[]'")),
    moment("created_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant", "period", "unit"),
    CheckConstraint("period IN ('day', 'month')", name="budgets_period"),
    CheckConstraint("unit IN ('gpu_seconds', 'money')", name="budgets_unit"),
    CheckConstraint("amount >= 0", name="budgets_amount"),
)

# What a tenant's campaigns have used of a budget in one of its periods, and have spoken for. `told`: the percentages
# whose action has been taken.
spending = Table(
    "spending",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("since", Date, nullable=False),
    Column("reserved", Double, nullable=False, server_default=ZERO),
    Column("used", Double, nullable=False, server_default=ZERO),
    Column("told", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("tenant", "period", "unit", "since"),
    postgresql_with=HOT,
)
