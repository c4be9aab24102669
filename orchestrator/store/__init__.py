"""All SQL: whatever Cogmill keeps in PostgreSQL.

Imports config, domain, policy, ports, telemetry.
"""

from orchestrator.store.connecting import CALLERS
from orchestrator.store.schema import migrate, schema_version
from orchestrator.store.store import Store

__all__ = ["CALLERS", "Store", "migrate", "schema_version"]
