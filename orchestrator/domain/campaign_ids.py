"""What follows from a campaign: its plan's token, its rows' job ids, the seeds of rows that bring none. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from orchestrator.domain.campaign import Ask, Group, Input, TemplateVersion


def plan_token(
    *,
    input: Input | None,
    template: TemplateVersion,
    ask: Ask,
    groups: Sequence[Group],
    revisions: Mapping[str, str],
    rows: int,
    left_out: int,
) -> str:
    """A hash over everything that decides look or quantity; estimates of cost and time are not in it.

    `revisions` are those of the models that the rows name. Rows that somebody drops from the sample are counted.
    """
    decided = {
        "input": None if input is None else input.sha256,
        "template": [template.prompt, template.negative_prompt, dict(template.defaults)],
        "variants": ask.variants,
        "seeds": ask.seeds,
        "output": ask.output,
        "groups": sorted((group.pool, group.model, group.rows) for group in groups),
        "revisions": dict(sorted(revisions.items())),
        "rows": rows,
        "left_out": left_out,
    }
    return "plan_" + hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:32]


def row_job_id(campaign: str, created_at: datetime, place: int, *, number: int, generation: int) -> UUID:
    """The id of the job that a row gets in the pass of that number: the same whoever asks, so submitting twice is once.

    A UUIDv7 (RFC 9562, 5.7): the campaign's creation time in milliseconds, 32 bits of place, 42 bits of a hash. So a
    campaign's jobs are listed where it was made, in the order of its rows.
    """
    digest = hashlib.blake2b(f"{campaign}:{number}:{generation}".encode(), digest_size=8).digest()
    millis = int(created_at.timestamp() * 1000) & (2**48 - 1)
    low = (place & 0xFFFFF) << 42 | int.from_bytes(digest) >> 22
    return UUID(int=millis << 80 | 7 << 76 | (place >> 20 & 0xFFF) << 64 | 2 << 62 | low)


def place_of(job_id: UUID) -> int:
    """The place of the row that a job is for, as `row_job_id` wrote it."""
    return (job_id.int >> 64 & 0xFFF) << 20 | job_id.int >> 42 & 0xFFFFF


def row_seed(campaign: str, place: int, *, variant: int = 0, reseed: int = 0) -> int:
    """The seed of a row that brings none, in 32 bits, which every JSON reader carries exactly."""
    digest = hashlib.blake2b(f"{campaign}:{place}:{variant}:{reseed}".encode(), digest_size=4).digest()
    return int.from_bytes(digest)
