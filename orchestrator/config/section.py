"""What every section of the settings is: frozen, and strict about its keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

# Up to a hundred years: PostgreSQL's intervals and the system's timers take no infinity.
Seconds = Annotated[float, Field(gt=0, le=100 * 365.25 * 24 * 3600, allow_inf_nan=False)]

# Of somebody's server.
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Unpickle, also what an older release has pickled: it says nothing of newer keys, which then are as usual."""
        fields = type(self).model_fields.items()
        usual = {name: it.get_default(call_default_factory=True) for name, it in fields if not it.is_required()}
        said = usual | state["__dict__"]
        # In the order of the fields, which is that of a dump, and so of a plan's fingerprint.
        super().__setstate__({**state, "__dict__": {name: said[name] for name in type(self).model_fields}})
