"""What the audit log says of an administrative or security action, and what of it can be checked. Pure.

Each value of an entry (who, of which tenant, from where, on what, before and after) enters the entry's digest as the
digest of a salt of its own and its text. So a value can be erased with its salt, and what remains is still the entry
that was sealed; without the salt nobody can guess a value and see whether it was the one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from math import isfinite
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.domain import canonical

SALT_BYTES = 16


class Action(StrEnum):
    """What was done: what it was done to, a dot, and a verb. What a tenant does to its own work is none of them."""

    KEY_CREATE = "key.create"
    KEY_ROTATE = "key.rotate"
    KEY_REVOKE = "key.revoke"
    # Of the console: a session of it, by a key or a person.
    SESSION_BEGIN = "session.begin"
    SESSION_END = "session.end"
    TENANT_CREATE = "tenant.create"
    TENANT_LIMITS = "tenant.limits"
    TENANT_WEIGHT = "tenant.weight"
    TENANT_SHARE = "tenant.share"
    TENANT_BUDGET = "tenant.budget"
    # What a tenant's callers count on: who pays for a campaign, and how much; and that it ends, or is gone.
    CAMPAIGN_APPROVE = "campaign.approve"
    CAMPAIGN_UPDATE = "campaign.update"
    CAMPAIGN_CANCEL = "campaign.cancel"
    CAMPAIGN_DELETE = "campaign.delete"
    POOL_PAUSE = "pool.pause"
    POOL_RESUME = "pool.resume"
    WORKER_DRAIN = "worker.drain"
    WORKER_REPLACE = "worker.replace"
    WORKER_RESUME = "worker.resume"
    # An administrator's, of any tenant's job.
    JOB_CANCEL = "job.cancel"
    JOB_RETRY = "job.retry"
    DEAD_LETTER_RELEASE = "dead_letter.release"
    DEAD_LETTER_FORGET = "dead_letter.forget"
    WEBHOOK_CREATE = "webhook.create"
    WEBHOOK_UPDATE = "webhook.update"
    WEBHOOK_DELETE = "webhook.delete"
    # Of an endpoint, or of a tenant.
    WEBHOOK_ROTATE = "webhook.rotate"
    PARKED_RESUME = "parked.resume"
    ROLL_RETRY = "roll.retry"
    DATABASE_MIGRATE = "database.migrate"
    # A generation; each key that is revoked with it and each secret that is rotated has an entry of its own.
    MASTER_RETIRE = "master.retire"
    # Of a tenant as it is asked for, and of the erasure as it ends.
    TENANT_ERASE = "tenant.erase"
    # Of the log itself.
    AUDIT_PRUNE = "audit.prune"
    AUDIT_ACCEPT = "audit.accept"
    # Counted together: a row for many (`orchestrator/audit/refusals.py`).
    AUTHENTICATION_FAIL = "authentication.fail"
    REQUEST_REFUSE = "request.refuse"


class Outcome(StrEnum):
    """What became of it."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, and in which request."""

    # `key:ID`, `oidc:ISSUER#SUBJECT`, `cli:USER@HOST`, `service:NAME` or `nobody`.
    name: str
    # The id of its key, which is written on the jobs that it makes.
    key: str | None = None
    # That of the key.
    tenant: str | None = None
    address: str | None = None
    request_id: str | None = None


NOBODY = Actor(name="nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done, as whoever does it knows it."""

    action: Action
    # What kind of thing, and which: `key:ID`, `tenant:NAME`, `pool:NAME`, `worker:CLUSTER:NAME`, `job:ID`.
    object: str
    # Whose it is; None: the deployment's.
    tenant: str | None = None
    # What is changed, as it was and as it is, and nothing secret. None: it was not there, or it is there no more.
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    outcome: Outcome = Outcome.DONE


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two states of one thing, with the same names, what is not the same in both."""
    names = [name for name in after if before[name] != after[name]]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def without_secrets(url: str) -> str:
    """Where a URL leads, without what may open a door there: neither who asks, nor what stands behind its host.

    Chat services have their secret in the path. A digest of it tells one path from another.
    """
    parts = urlsplit(url)
    path = f"/sha256:{sha256(parts.path.encode()).hexdigest()[:12]}" if parts.path.strip("/") else parts.path
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


# The values of an entry, which may be erased: those of the object of an action, and those of whoever acted.
OF_OBJECT = ("tenant", "object", "before", "after")
OF_ACTOR = ("actor", "actor_tenant", "address", "request_id")
VALUES = (*OF_ACTOR, *OF_OBJECT)


def values_of(change: Change, actor: Actor) -> dict[str, str]:
    """The text of each value that there is."""
    texts = {
        "actor": actor.name,
        "actor_tenant": actor.tenant,
        "address": actor.address,
        "request_id": actor.request_id,
        "tenant": change.tenant,
        "object": change.object,
        "before": _text(change.before),
        "after": _text(change.after),
    }
    return {name: text.replace("\x00", "\ufffd") for name, text in texts.items() if text is not None}


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else canonical.text_of(_plain(value))


def _plain(value: Any) -> Any:
    """The same in JSON's words; no limit, which is infinite, is `none`, as on the command line."""
    if isinstance(value, float) and not isfinite(value):
        return "none"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(each) for each in value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def moment(at: datetime) -> str:
    """A time as digests have it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def digest_of(name: str, salt: str, text: str) -> str:
    """What stands for a value in its entry's digest. The salt is in hexadecimal digits."""
    return sha256(b"\x00".join((bytes.fromhex(salt), name.encode(), text.encode("utf-8", "surrogatepass")))).hexdigest()


def salted(values: Mapping[str, str], salt: Callable[[int], str]) -> tuple[dict[str, str], dict[str, str]]:
    """A salt for each of the values, and their digests."""
    salts = {name: salt(SALT_BYTES) for name in values}
    return salts, {name: digest_of(name, salts[name], text) for name, text in values.items()}
