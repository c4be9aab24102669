"""What people think of videos, every word of it; and how campaigns got on, minute by minute."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from orchestrator.store.tables.base import HOT, NOW, ZERO, metadata, moment

# One for each video that somebody has looked at or is about to; `campaign` and `place` are those of its row, if it is
# one's. A row that gets another video has another review.
reviews = Table(
    "reviews",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("campaign", BigInteger),
    Column("place", Integer),
    # Of what somebody has said; 0 until somebody has.
    Column("version", Integer, nullable=False, server_default=ZERO),
    Column("rating", SmallInteger),
    Column("decision", Text),
    Column("reason", Text),
    # What shall become of what was rejected, when that was carried out, and the job that came of it.
    Column("action", Text),
    Column("reviewer", Text),
    moment("decided_at"),
    moment("applied_at"),
    Column("applied_as", Uuid),
    # Who is about to look at it, and until when nobody else is asked to.
    Column("held_by", Text),
    moment("held_until"),
    CheckConstraint("rating BETWEEN 1 AND 5", name="reviews_rating"),
    CheckConstraint("decision IN ('approve', 'reject')", name="reviews_decision"),
    CheckConstraint("action IN ('new_seed', 'drop')", name="reviews_action"),
    CheckConstraint("coalesce(decision = 'reject', false) = (action IS NOT NULL)", name="reviews_rejected_has_action"),
    CheckConstraint("(campaign IS NULL) = (place IS NULL)", name="reviews_of_row"),
    CheckConstraint("applied_at IS NULL OR decision = 'reject'", name="reviews_applied"),
    postgresql_with={"fillfactor": 90},
)
Index("reviews_of_campaign", reviews.c.campaign, reviews.c.place, postgresql_where=text("campaign IS NOT NULL"))
Index("reviews_held", reviews.c.campaign, reviews.c.held_by, postgresql_where=text("held_by IS NOT NULL"))
Index("reviews_listing", reviews.c.tenant, reviews.c.job_id, postgresql_where=text("version > 0"))

# Whatever was said of a video, what came too late among it. Numbers count from 1 and are not given twice.
review_entries = Table(
    "review_entries",
    metadata,
    Column("job_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("campaign", BigInteger),
    Column("kind", Text, nullable=False),
    # That it made; of what was refused, the one that it met.
    Column("version", Integer, nullable=False),
    # The version that undoing went back to.
    Column("back_to", Integer),
    Column("rating", SmallInteger),
    Column("decision", Text),
    Column("reason", Text),
    Column("action", Text),
    Column("reviewer", Text, nullable=False),
    moment("at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("job_id", "number"),
    CheckConstraint("kind IN ('decided', 'refused', 'undone', 'applied')", name="review_entries_kind"),
)
Index("review_entries_of_campaign", review_entries.c.campaign, postgresql_where=text("campaign IS NOT NULL"))
Index("review_entries_of_tenant", review_entries.c.tenant)

# How many rows had ended at the end of each minute in which some did, and what all had cost by then.
campaign_progress = Table(
    "campaign_progress",
    metadata,
    Column("campaign", BigInteger, nullable=False),
    moment("at", nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    # Cancelled, dropped and waived.
    Column("others", Integer, nullable=False),
    Column("gpu_seconds", Double, nullable=False),
    PrimaryKeyConstraint("campaign", "at"),
    postgresql_with=HOT,
)
