"""The audit log: what was done, and the seals that show whether anybody has changed it since."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Identity,
    Index,
    Table,
    Text,
    TypeDecorator,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from orchestrator.store.tables.base import NOW, Xid8, metadata

_FIRST, _LAST = text("timestamptz '0001-01-02 00:00:00+00'"), text("timestamptz '9999-12-30 00:00:00+00'")


class _Told(TypeDecorator[datetime]):
    """A time that Python can read, whatever the row says: one that it cannot would hide all that is read with it.

    PostgreSQL's go from 4713 BC to 294276 AD, and to both infinities. It is not the one that was sealed, and found.
    """

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def column_expression(self, column: ColumnElement[datetime]) -> ColumnElement[datetime]:
        return func.least(func.greatest(column, _FIRST), _LAST)


# Values are blank where there was none, and where one was erased: then its digest is left, and its salt is not.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", _Told, nullable=False, server_default=NOW),
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
    Column("at", _Told, nullable=False),
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
    Column("at", _Told, nullable=False),
    Column("link", Text, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("signature", Text, nullable=False),
)
