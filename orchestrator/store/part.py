"""What every part of the store stands on."""

from __future__ import annotations

from orchestrator.policy.limits import Limits
from orchestrator.store.engine import Database
from orchestrator.store.submissions import Submissions
from orchestrator.store.wakeups import Notifier


class Part:
    """One seam of `Store`; the parts share its connections, and nothing else of each other."""

    _database: Database
    _notifier: Notifier
    _submissions: Submissions
    _defaults: Limits
