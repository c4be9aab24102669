"""What every section of the settings is: frozen, and strict about its keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Up to a hundred years: PostgreSQL's intervals and the system's timers take no infinity.
Seconds = Annotated[float, Field(gt=0, le=100 * 365.25 * 24 * 3600, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
