"""Who is signed in to the console."""

from __future__ import annotations

from sqlalchemy import ARRAY, Column, Index, Integer, Table, Text, text

from orchestrator.store.tables.base import NOW, metadata, moment

# `ports/sessions.py` explains the columns.
console_sessions = Table(
    "console_sessions",
    metadata,
    # SHA-256, in hex, of what the cookie holds.
    Column("id", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("issuer", Text),
    Column("name", Text, nullable=False, server_default=text("''")),
    Column("scopes", ARRAY(Text)),
    Column("master", Integer, nullable=False),
    Column("sign_in", Text, unique=True),
    moment("created_at", nullable=False, server_default=NOW),
    # Within a minute.
    moment("used_at", nullable=False, server_default=NOW),
    moment("expires_at", nullable=False),
)
Index("console_sessions_holder", console_sessions.c.holder)
Index("console_sessions_expires", console_sessions.c.expires_at)
