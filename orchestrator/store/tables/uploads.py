"""What tenants bring along: images, files, and the batches that are made of files."""

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
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import HOT, NOW, ZERO, metadata, moment

# Images that videos begin at, by content. `dying_at`: the sweeper has decided, and nobody may begin to use it.
inputs = Table(
    "inputs",
    metadata,
    Column("key", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content_type", Text, nullable=False),
    moment("used_at", nullable=False, server_default=NOW),
    moment("dying_at"),
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
    moment("created_at", nullable=False, server_default=NOW),
    moment("expires_at"),
    moment("deleted_at"),
    # It counts against its tenant's quotas; triggers of the migration 0020 keep these.
    Column("counted", Boolean, nullable=False, server_default=text("true")),
    CheckConstraint("size >= 0", name="files_size"),
)
# Ids are UUIDv7: their order is the order of creation.
Index("files_listing", files.c.tenant, files.c.id, postgresql_where=text("deleted_at IS NULL"))
Index("files_deleted", files.c.deleted_at, postgresql_where=text("deleted_at IS NOT NULL"))
Index("files_expiry", files.c.expires_at, postgresql_where=text("expires_at IS NOT NULL AND deleted_at IS NULL"))

# Files and their bytes, by tenant: what was added up, and what has come and gone since. Whoever adds or deletes a file
# writes a row of its own, so that no two of them wait for each other.
stored = Table(
    "stored",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    postgresql_with=HOT,
)
stored_changes = Table(
    "stored_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)
Index("stored_changes_tenant", stored_changes.c.tenant)

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
    Column("total", Integer, nullable=False, server_default=ZERO),
    Column("completed", Integer, nullable=False, server_default=ZERO),
    Column("failed", Integer, nullable=False, server_default=ZERO),
    moment("created_at", nullable=False, server_default=NOW),
    moment("expires_at", nullable=False),
    moment("in_progress_at"),
    moment("finalizing_at"),
    moment("completed_at"),
    moment("failed_at"),
    moment("expired_at"),
    moment("cancelling_at"),
    moment("cancelled_at"),
    # The last of the times above, once nothing more will happen; then its items go, and later the row.
    moment("ended_at"),
    # Who works on it, and until when nobody else does. Without a lease that is until when it rests.
    Column("lease", Uuid),
    moment("leased_until"),
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
