"""An erased tenant leaves nothing, gets nothing more in, and takes nothing of another's with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from orchestrator.adapters.s3 import S3Objects
from orchestrator.campaigns.signing import Keys, Signer
from orchestrator.config import S3Settings
from orchestrator.config.logins import Login
from orchestrator.domain.audit import Actor
from orchestrator.domain.campaign import Ask, CampaignState, TemplateVersion
from orchestrator.domain.errors import IntegrityError, TenantErased, Unauthenticated
from orchestrator.domain.job import Artifact, Job
from orchestrator.domain.masters import Ring
from orchestrator.domain.objects import claim_prefix, file_key, input_key
from orchestrator.domain.receipt import SignedReceipt
from orchestrator.objects.erasing import Eraser
from orchestrator.ports import NewEndpoint
from orchestrator.ports.batches import NewBatch
from orchestrator.ports.campaign_values import NewCampaign
from orchestrator.ports.erasures import Erasure
from orchestrator.ports.files import NewFile
from orchestrator.processes.maintaining import eraser_of
from orchestrator.store import Store
from orchestrator.telemetry import acting
from orchestrator.tenants import keys
from orchestrator.tenants.keyring import Keyring
from tests.support.api import api_settings
from tests.support.auditing import ADMIN, changed, entries, seal, verified
from tests.support.estates import (
    GRACE_S,
    LATE_S,
    MASTER_KEY,
    SIGNER,
    Estate,
    contents,
    eraser,
    mentions,
    rows_of,
    with_picture,
)
from tests.support.jobs import CLUSTER, POOL, new_job, success, worker
from tests.support.logins import acting as acting_as
from tests.support.postgres import Clock

GONE = "acme"
# A longer and a shorter name, another case, and what SQL's LIKE would take for the same.
OTHERS = ("acme-2", "acm", "ACME", "acm_")


async def finished(store: Store, its: Eraser, clock: Clock) -> Erasure:
    """Round after round, and from one look to the next."""
    for _ in range(100):
        if await its.run_once():
            return (await store.list_erasures(limit=1))[0]
        await clock.advance(300)
    raise AssertionError((await store.list_erasures(limit=1))[0])


def receipt_of(erasure: Erasure) -> SignedReceipt:
    assert erasure.receipt is not None
    return SignedReceipt.parse(erasure.receipt)


async def test_nothing_of_the_tenant_is_left_and_not_a_byte_of_another_is_touched(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock
) -> None:
    for other in OTHERS:
        await Estate.of(store, database, objects, other)
    rows = {other: await rows_of(database, other) for other in OTHERS}
    theirs = contents(objects)
    estate = await Estate.of(store, database, objects, GONE)
    mine = contents(objects).keys() - theirs.keys()

    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    its = eraser(store, objects)
    assert await its.run_once() == 0
    [going] = await store.list_erasures(limit=9)
    assert going.waits_for == "1 renders are being stopped"
    await estate.stopped(store)
    done = await finished(store, its, clock)

    assert contents(objects) == theirs
    for other in OTHERS:
        assert await rows_of(database, other) == rows[other], other
    assert not any((await rows_of(database, GONE)).values())
    assert done.tenant is None
    assert done.erased["objects"] == len(mine)
    assert done.erased["bytes"] == len(mine) * len(GONE)
    assert done.erased["jobs"] == 3


async def _file(store: Store) -> object:
    stored = Artifact(key="files/x/y", size=1, sha256="0" * 64, content_type="text/plain")
    new = NewFile(id="file-new", tenant=GONE, purpose="batch", filename="f", object=stored)
    return await store.add_file(new)


async def _batch(store: Store) -> object:
    new = NewBatch(
        id="batch-new", tenant=GONE, dialect="openai", endpoint="/v1/videos", completion_window="24h", window_s=9,
        input_file="f", delete_input=False, output_lifetime_s=None, metadata=None,
    )  # fmt: skip
    return await store.add_batch(new, priority=20)


async def _campaign(store: Store) -> object:
    new = NewCampaign(
        id="campaign-new", tenant=GONE, state=CampaignState.DRAFT, ask=Ask(),
        template=TemplateVersion(version=1, prompt="a mill"), priority=20, idempotency_key=None, request_hash=None,
    )  # fmt: skip
    return await store.add_campaign(new)


async def _endpoint(store: Store) -> object:
    new = NewEndpoint(id="we", tenant=GONE, name="n", url="http://r.example/", host="r.example:80", event_types=[])
    return await store.add_endpoint(new, at_most=9)


BRINGING: dict[str, Callable[[Store], Awaitable[object]]] = {
    "job": lambda store: store.submit(new_job(GONE)),
    "file": _file,
    "batch": _batch,
    "campaign": _campaign,
    "endpoint": _endpoint,
    "key": lambda store: store.add_key("another", GONE, "tests", master=1),
}


async def test_from_the_request_on_nothing_new_comes_in_and_its_keys_open_nothing(
    store: Store, subtests: pytest.Subtests
) -> None:
    key_id = keys.new_id()
    await store.add_key(key_id, GONE, "tests", master=1)
    keyring = Keyring(store, Ring.of(MASTER_KEY), cache_s=0)
    assert await keyring.tenant(keys.issue(MASTER_KEY, key_id)) == GONE
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    with pytest.raises(Unauthenticated, match="the tenant of this API key is being erased"):
        await keyring.tenant(keys.issue(MASTER_KEY, key_id))
    for name, bring in BRINGING.items():
        with subtests.test(name), pytest.raises(TenantErased):
            await bring(store)


async def test_who_submits_for_it_all_the_same_holds_up_no_other_of_the_same_transaction(store: Store) -> None:
    await store.add_key("key", GONE, "tests", master=1)
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    tenants = [GONE, "birch", GONE, "cedar", "birch"] * 4
    ends = await asyncio.gather(*(store.submit(new_job(tenant)) for tenant in tenants), return_exceptions=True)
    assert [type(end) for end in ends] == [TenantErased if tenant == GONE else Job for tenant in tenants]


async def test_what_was_in_flight_at_the_request_goes_with_the_rest(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock
) -> None:
    await store.add_key("key", GONE, "tests", master=1)
    async with database.transaction():  # begun before the fence, committed behind it
        await database.execute(
            "INSERT INTO files (id, tenant, purpose, filename, size, sha256, content_type, key)"
            " VALUES ('late', $1, 'batch', 'f', 1, '', '', '')",
            GONE,
        )
        await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
        its = eraser(store, objects)
        assert await its.run_once() == 0
    assert (await finished(store, its, clock)).erased["files"] == 1
    assert not await database.fetch("SELECT FROM files")


async def test_what_a_worker_uploads_after_its_job_is_gone_and_a_signed_url_takes_is_swept_at_the_end(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock
) -> None:
    estate = await Estate.of(store, database, objects, GONE)
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    its = eraser(store, objects)
    await its.run_once()
    await estate.stopped(store)
    await clock.advance(60)
    await its.run_once()
    assert await store.get(estate.running.job_id, GONE) is None
    late = [f"{claim_prefix(estate.running.job_id, 1)}video.mp4", file_key(GONE, f"file-{uuid7().hex}")]
    for key in late:
        objects.put(key, b"late", "text/plain")
    began = await clock.now()
    await finished(store, its, clock)
    assert (await clock.now() - began).total_seconds() >= LATE_S - 300
    assert contents(objects) == {}


async def a_picture(store: Store, objects: S3Objects) -> Artifact:
    """The same one, as whoever brings it has it kept."""
    data = b"picture"
    sha256 = objects.put("probe", data, "image/png").sha256
    objects.delete(["probe"])
    if (there := await store.use_input(sha256)) is not None:
        return there
    return await store.add_input(objects.put(input_key(sha256, uuid7(), "png"), data, "image/png"))


async def test_a_picture_goes_with_its_last_tenant(store: Store, objects: S3Objects, clock: Clock) -> None:
    picture = await a_picture(store, objects)
    await with_picture(store, GONE, picture)
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    its = eraser(store, objects)
    await its.run_once()
    assert contents(objects) == {picture.key: b"picture"}
    done = await finished(store, its, clock)
    assert contents(objects) == {}
    assert (done.erased["pictures"], done.erased["bytes"]) == (1, 7)
    assert await store.use_input(picture.sha256) is None


async def test_a_picture_that_another_has_brought_too_stays_theirs(
    store: Store, objects: S3Objects, clock: Clock
) -> None:
    picture = await a_picture(store, objects)
    await with_picture(store, GONE, picture)
    assert await a_picture(store, objects) == picture
    await with_picture(store, "birch", picture)
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    done = await finished(store, eraser(store, objects), clock)
    assert contents(objects) == {picture.key: b"picture"}
    assert await store.use_input(picture.sha256) == picture
    assert "pictures" not in done.erased
    assert "1 that other tenants have brought, too" in receipt_of(done).text


async def test_a_picture_that_another_brings_at_that_moment_stays_theirs(
    store: Store, objects: S3Objects, clock: Clock
) -> None:
    """`use_input` was just in time: its job comes a moment after the picture was given up."""
    picture = await a_picture(store, objects)
    await with_picture(store, GONE, picture)
    assert await a_picture(store, objects) == picture
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    its = eraser(store, objects)
    await its.run_once()
    await with_picture(store, "birch", picture)
    # And who comes later has an object of their own.
    another = await a_picture(store, objects)
    assert another.key != picture.key
    await with_picture(store, "cedar", another)
    await finished(store, its, clock)
    assert contents(objects) == {picture.key: b"picture", another.key: b"picture"}


async def test_a_picture_whose_other_tenant_has_deleted_it_meanwhile_goes_too(
    store: Store, objects: S3Objects, database: asyncpg.Connection, clock: Clock
) -> None:
    picture = await a_picture(store, objects)
    await with_picture(store, GONE, picture)
    other = await with_picture(store, "birch", picture)
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    its = eraser(store, objects)
    await its.run_once()
    await database.execute("DELETE FROM jobs WHERE id = $1", other)
    await clock.advance(GRACE_S)
    await finished(store, its, clock)
    assert contents(objects) == {}


async def test_the_receipt_is_signed_names_nobody_and_is_proven_without_us(
    store: Store, objects: S3Objects, clock: Clock
) -> None:
    await store.add_key("key", GONE, "tests", master=1)
    await acting_as(store, Login.API).request_erasure(GONE, by="key:root", keep_usage=False)
    done = await finished(store, eraser(store, objects), clock)
    receipt, public = receipt_of(done), Keys.of(SIGNER.jwks)
    public.verify(receipt)
    assert receipt.names(GONE)
    assert not receipt.names("acme-2")
    assert GONE not in receipt.text
    assert receipt.receipt["requested_by"] == "key:root"
    assert {each["what"] for each in receipt.receipt["remains"]} >= {"backups", "logs", "objects below shared/"}
    by = '"requested_by":"key:root"'
    for forged in (
        receipt.text.replace('"keys":1', '"keys":2'),
        receipt.text.replace("key:root", "key:rook"),
        # What is signed is there, too, and read last: people, and other readers, see what stands first.
        receipt.text.replace(by, f"{by.replace('root', 'rook')},{by}"),
    ):
        assert forged != receipt.text
        with pytest.raises(IntegrityError):
            public.verify(SignedReceipt.parse(forged))
    with pytest.raises(IntegrityError):
        Keys.of(Signer("another-master-key").jwks).verify(receipt)


async def test_whoever_has_the_name_next_sees_nothing_of_before(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock
) -> None:
    estate = await Estate.of(store, database, objects, GONE)
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=True)
    its = eraser(store, objects)
    await its.run_once()
    await estate.stopped(store)
    done = await finished(store, its, clock)
    assert await mentions(database, GONE) == {}
    await store.add_key("new", GONE, "tests", master=1)
    assert await store.find_key(f"key-of-{GONE}") is None
    assert (await store.list_jobs(GONE, limit=9)).jobs == []
    assert (await store.list_files(GONE, limit=9)).files == []
    rows = {table: found for table, found in (await rows_of(database, GONE)).items() if found}
    assert {table: len(found) for table, found in rows.items()} == {"keys": 1, "tenants": 1, "audit": 1}
    # What was used is kept under no name, and under none that a tenant can have.
    [used] = await database.fetch("SELECT tenant, campaign, job_id::text FROM usage GROUP BY 1, 2, 3")
    assert tuple(used) == (f"erased:{done.id}", None, "00000000-0000-0000-0000-000000000000")
    assert done.erased["usage_unnamed"] == 2
    # A second erasure is one of its own.
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    again = await finished(store, its, clock)
    assert again.id != done.id
    assert "usage" not in again.erased


async def test_the_audit_log_says_nothing_of_it_any_more_and_verifies(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock
) -> None:
    """What was done to it, by whom it was asked for, and what its people did to others stays; its values do not."""
    await store.add_key("key-of-theirs", GONE, "ci of theirs", master=1)
    theirs = Actor(name="key:key-of-theirs", tenant=GONE, address="198.51.100.77")
    await changed(store, "birch", 3.0, by=theirs)
    await seal(store)
    with acting.acting(ADMIN):
        asked = await acting_as(store, Login.API).request_erasure(GONE, by="key cgm_admin", keep_usage=False)
    assert asked is not None
    (entry,) = await entries(store, action="tenant.erase")
    assert (entry.values["object"], entry.values["tenant"]) == (f"tenant:{GONE}", GONE)
    assert entry.after == {"erasure": asked.id, "keep_usage": False}
    done = await finished(store, eraser(store, objects), clock)
    await seal(store)
    assert done.erased["audit_blanked"] == 3
    for word in (GONE, "key-of-theirs", "of theirs", "198.51.100.77"):
        assert await mentions(database, word) == {}, word
    begun, ended = await entries(store, action="tenant.erase")
    assert begun.values["actor"] == "key:cgm_admin"
    assert ended.values["object"] == f"erasure:{asked.id}"
    assert [each.values["object"] for each in await entries(store, action="tenant.weight")] == ["tenant:birch"]
    report = await verified(store)
    assert (report.findings, report.erased) == ([], 3)


async def test_the_maintainers_eraser_takes_the_prefixes_of_the_settings_that_are_the_tenants_alone(
    store: Store, objects: S3Objects, database_url: str, s3_settings: S3Settings
) -> None:
    settings = api_settings(database_url, s3_settings)
    outputs = ("exports/{tenant}/", "of/{tenant}-films/", "all/")
    settings = settings.model_copy(update={"campaigns": settings.campaigns.model_copy(update={"s3_outputs": outputs})})
    keys_ = [f"{first}{name}{rest}/a.mp4" for name in (GONE, "acme-films", "acme%2E") for first, rest in (
        ("exports/", ""), ("imports/", ""), ("of/", "-films"), ("all/", ""),
    )]  # fmt: skip
    for key in keys_:
        objects.put(key, b"x", "video/mp4")
    await store.add_key("key", GONE, "tests", master=1)
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    await eraser_of(settings, acting_as(store, Login.MAINTAIN), objects).run_once()
    assert contents(objects).keys() == set(keys_) - {f"exports/{GONE}/a.mp4", f"imports/{GONE}/a.mp4"}
    [going] = await store.list_erasures(limit=1)
    assert going.waits_for == "what may still be uploaded or used is looked for once more"


async def test_who_had_the_name_before_cannot_sign_webhooks_for_who_has_it_now(
    store: Store, objects: S3Objects, clock: Clock
) -> None:
    """The secret follows from the name: without a generation of its own the new tenant's would be the old one's."""
    await store.add_key("key", GONE, "tests", master=1)
    known = [await store.show_secret(GONE), await store.rotate_tenant(GONE, overlap_s=60)]
    assert [mark.generation for mark in known] == [1, 2]
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    await finished(store, eraser(store, objects), clock)
    await store.add_key("new", GONE, "tests", master=1)
    assert (await store.show_secret(GONE)).generation == 3
    await store.set_limits("birch", {"queued": 5})
    await store.set_limits("birch", {"queued": 6})
    assert (await store.show_secret("birch")).generation == 3


async def test_a_job_that_ends_while_its_tenant_is_erased_leaves_no_trace(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock
) -> None:
    await store.beat(CLUSTER, {worker(): POOL})
    await store.add_key("key", GONE, "tests", master=1)
    await store.submit(new_job(GONE))
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    await acting_as(store, Login.API).request_erasure(GONE, by="tests", keep_usage=False)
    await store.settle([success(claim)])  # it was quicker than the cancel
    await finished(store, eraser(store, objects), clock)
    assert await mentions(database, GONE) == {}
    assert await mentions(database, claim.job_id.hex) == {}
