"""What every table is made of: the clock, moments, and how rows that change often are stored."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, MetaData, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import UserDefinedType

metadata = MetaData()


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id, which never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


NOW = text("cogmill_now()")
ZERO = text("0")

# Rows of a hot table are rewritten several times. Room on the page keeps those updates heap-only, and vacuum must come
# after a fixed number of dead rows: a share of a million waiting rows would be far too late for the queue's head.
HOT = {
    "fillfactor": 60,
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_vacuum_cost_delay": 0,
}


def moment(name: str, **options: Any) -> Column[Any]:
    """A column of a time with its zone."""
    return Column(name, TIMESTAMP(timezone=True), **options)
