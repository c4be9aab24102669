"""The audit log: what was done, and the seals that show whether anybody has changed it since."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from orchestrator.store.tables.base import NOW, Xid8, metadata, moment

# Values are blank where there was none, and where one was erased: then its digest is left, and its salt is not.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    moment("at", nullable=False, server_default=NOW),
    # Its transaction: a row is sealed when every transaction that began to write before it has ended.
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Text),
    Column("actor_tenant", Text),
    Column("address", Text),
    Column("request_id", Text),
    Column("tenant", Text),
    Column("object", Text),
    # JSON, to the letter as it was digested.
    Column("before", Text),
    Column("after", Text),
    Column("salts", JSONB, nullable=False),
    Column("digests", JSONB, nullable=False),
    # None: until it is sealed.
    Column("seal", BigInteger),
    Index("audit_at", "at", "id"),
    Index("audit_tenant", "tenant", "id"),
    Index("audit_actor", "actor", "id"),
    Index("audit_actor_tenant", "actor_tenant", "id"),
    Index("audit_unsealed", "id", postgresql_where=text("seal IS NULL")),
    Index("audit_seal", "seal", "id"),
)

# One chain: each seal holds the link of the one before, and its head is keyed. The first is number 1.
audit_seals = Table(
    "audit_seals",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    moment("at", nullable=False),
    Column("previous", Text, nullable=False),
    # Its entries and their digests, in the order of their ids.
    Column("ids", ARRAY(BigInteger), nullable=False),
    Column("digests", ARRAY(Text), nullable=False),
    # Which key its head was made with.
    Column("key", Text, nullable=False),
    Column("head", Text, nullable=False),
    CheckConstraint("number > 0 AND cardinality(ids) = cardinality(digests)", name="audit_seals_entries"),
)

# Marks that vouch for the seal `number`, and so for all before it: left by retention, which has deleted these, and made
# by an operator who goes on with other keys.
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    moment("at", nullable=False),
    Column("link", Text, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("signature", Text, nullable=False),
)
