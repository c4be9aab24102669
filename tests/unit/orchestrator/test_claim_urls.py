"""What a claim's worker may read and write by signed URLs, and when it gets newer ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.adapters.s3_urls import Wallet
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.fleet import Fleet
from orchestrator.dispatch.urls import ClaimUrls, keys_of
from orchestrator.domain.errors import ObjectsRefused
from orchestrator.domain.job import Claim
from orchestrator.domain.objects import checkpoint_key, claim_prefix
from orchestrator.domain.protocol import Answer, Assignment
from orchestrator.ports.objects import Signed
from tests.support.bad_items import fake
from tests.support.builders import a_checkpoint, a_claim, a_result, a_spec, a_status
from tests.support.control import hears


def sign(reads: Collection[str], writes: Collection[str]) -> Signed:
    return Signed({key: f"get {key}" for key in reads}, {key: f"put {key}" for key in writes}, 60.0)


def test_a_claim_writes_below_its_own_prefix_and_reads_its_inputs_besides() -> None:
    image, checkpoint = a_result().cover, a_checkpoint()
    assignment = Assignment.of(a_claim(spec=a_spec(image=image, num_inference_steps=4), checkpoint=checkpoint))
    reads, writes = keys_of(assignment)
    assert all(key.startswith(claim_prefix(assignment.job_id, assignment.claim)) for key in writes)
    assert set(reads) - set(writes) == {image.key, checkpoint.artifact.key}
    assert {checkpoint_key(assignment.job_id, assignment.claim, step) for step in range(5)} < set(writes)


async def test_urls_are_renewed_at_half_of_their_time_and_at_once_when_another_dispatcher_signed_them() -> None:
    urls, claim, adopted = ClaimUrls(sign), a_claim(), a_claim()
    assignment = await urls.assignment(claim, now=100.0)
    assert assignment.reads is not None
    assert assignment.writes is not None
    assert set(assignment.writes) <= set(assignment.reads)
    assert urls.due([claim, adopted], now=129.0) == [adopted]
    assert urls.due([claim], now=130.0) == [claim]
    await urls.assignment(claim, now=130.0)
    assert urls.due([claim], now=130.0) == []
    urls.missed(claim.token)
    assert urls.due([claim], now=130.0) == [claim]


async def test_a_dispatcher_sends_the_urls_of_a_claim_with_it_and_newer_ones_as_such() -> None:
    claim, sent = a_claim(), list[Assignment]()

    async def claims(*_: object, **__: object) -> list[Claim]:
        return [claim]

    async def assign(name: str, caller: object, assignment: Assignment) -> Answer:
        sent.append(assignment)
        return Answer.ACCEPTED

    now = [100.0]
    cluster: Any = SimpleNamespace(
        name="c", caller=None, clock=fake(monotonic=lambda: now[0]), fleet=Fleet(), claims=Claims(),
        store=fake(claim=claims), workers=fake(assign=assign), urls=ClaimUrls(sign),
    )  # fmt: skip
    hears(cluster.fleet, a_status(worker=claim.worker, pool=claim.pool))
    dispatcher = Dispatcher(cluster, (claim.pool,))
    await dispatcher.run_once()
    await dispatcher.assigned()
    assert await dispatcher.renew_urls() == 0
    now[0] = 130.0
    assert await dispatcher.renew_urls() == 1
    _, writes = keys_of(Assignment.of(claim))
    assert [set(each.writes or ()) for each in sent] == [set(writes)] * 2
    assert [each.renews for each in sent] == [False, True]


async def test_workers_with_keys_are_sent_no_urls() -> None:
    urls, claim = ClaimUrls(), a_claim()
    assignment = await urls.assignment(claim, now=100.0)
    assert (assignment.reads, assignment.writes) == (None, None)
    assert urls.due([claim], now=1e9) == []


def test_urls_are_in_no_text() -> None:
    assignment = Assignment.of(a_claim())
    assert "hush" not in repr(replace(assignment, reads={"k": "hush"}))


def test_a_wallet_opens_what_its_claims_may_with_the_newest_urls() -> None:
    wallet, one, two = Wallet(), uuid4(), uuid4()
    wallet.take(one, {"shared": "one", "own": "own"}, {"out": "put"})
    wallet.take(two, {"shared": "two"}, {})
    assert (wallet.read("shared"), wallet.read("own"), wallet.write("out")) == ("two", "own", "put")
    wallet.take(one, {"shared": "newer"}, {"out": "put"})
    assert wallet.read("shared") == "newer"
    wallet.take(one, None, None)
    assert wallet.read("shared") == "newer", "a repeated assignment without URLs takes none away"
    wallet.drop(one)
    assert wallet.read("shared") == "two"
    for asked in (lambda: wallet.write("out"), lambda: wallet.read("out")):
        with pytest.raises(ObjectsRefused):
            asked()
