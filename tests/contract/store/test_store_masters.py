"""Rows say which generation of the master key their secret follows from; one ends with all that lives on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import asyncpg

from orchestrator.domain.campaign import Ask, CampaignState, ManifestMark, TemplateVersion
from orchestrator.domain.rights import Rights
from orchestrator.domain.webhooks import EventType
from orchestrator.ports import NewEndpoint, NewKey, SecretMark, Successor
from orchestrator.ports.campaigns import NewCampaign
from orchestrator.ports.masters import MasterUse, Retired, SignedManifest
from orchestrator.store import Store
from tests.support.auditing import entries
from tests.support.postgres import Clock

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def an_endpoint(endpoint_id: str, master: int, tenant: str = "acme") -> NewEndpoint:
    return NewEndpoint(
        id=endpoint_id,
        tenant=tenant,
        name="ends",
        url=f"http://receiver.example/{endpoint_id}",
        host="receiver.example:80",
        event_types=[EventType.VIDEO_COMPLETED],
        master=master,
    )


def an_ended_campaign(campaign_id: str, key: str) -> NewCampaign:
    return NewCampaign(
        id=campaign_id,
        tenant="acme",
        state=CampaignState.CANCELLED,
        ask=Ask(),
        template=TemplateVersion(version=1, prompt="a mill"),
        priority=20,
        idempotency_key=key,
        request_hash="same",
    )


async def living(store: Store) -> dict[int, tuple[int, int]]:
    return {use.generation: (use.keys, use.secrets) for use in await store.masters_in_use()}


async def signing(store: Store, generation: int) -> list[tuple[str, str | None, bool]]:
    found = await store.signing_secrets(generation)
    return [(each.tenant, each.endpoint_id, each.until is not None) for each in found]


async def test_a_key_keeps_its_generation_and_its_successor_has_its_own(store: Store) -> None:
    assert (await store.add_key("k1", "acme", "", master=1)).master == 1
    second = await store.add_key("k2", "acme", "", master=2)
    assert second.master == 2
    assert await store.find_key("k2") == second

    minted = await store.mint_key("k1", lambda _: NewKey(id="k3", name="", rights=Rights(), master=3), at_most=9)
    fresh = NewKey(id="k4", name="", rights=Rights(), master=4)
    replaced = await store.replace_key("k1", lambda *_: Successor(key=fresh, until=LATER))
    assert None not in (minted, replaced)
    assert {key.id: key.master for key in await store.list_keys()} == {"k1": 1, "k2": 2, "k3": 3, "k4": 4}


async def test_what_was_there_before_there_were_generations_is_of_the_first(
    store: Store, database: asyncpg.Connection
) -> None:
    """As the release before writes its rows, also while this one serves."""
    await database.execute("INSERT INTO keys (id, tenant, name) VALUES ('k1', 'old', '')")
    await database.execute("INSERT INTO tenants (name) VALUES ('old')")
    await database.execute(
        "INSERT INTO webhook_endpoints (id, tenant, name, url, host, event_types) VALUES ('w', 'old', '', '', '', '[]')"
    )
    assert await living(store) == {1: (1, 2)}
    assert await store.show_secret("old", master=2) == SecretMark(generation=1, master=1)
    await database.execute(  # which also rotates without a word of it
        "UPDATE webhook_endpoints SET secret_generation = 2, previous_secret_until = cogmill_now() + interval '1 hour'"
    )
    assert await signing(store, 1) == [("old", None, False), ("old", "w", False), ("old", "w", True)]


async def test_a_tenants_secret_is_of_the_generation_that_was_the_newest_when_it_was_first_shown(store: Store) -> None:
    await store.add_key("k1", "acme", "", master=1)
    await store.set_weight("heavy", 2)
    assert await living(store) == {1: (1, 0)}
    for tenant in ("acme", "heavy", "nobody"):
        assert await store.show_secret(tenant, master=2) == SecretMark(generation=1, master=2)
        assert await store.show_secret(tenant, master=3) == SecretMark(generation=1, master=2)
    assert await store.rotate_tenant("acme", overlap_s=60, master=3) == SecretMark(generation=2, master=3)
    assert await signing(store, 2) == [("acme", None, True), ("heavy", None, False), ("nobody", None, False)]
    assert await signing(store, 3) == [("acme", None, False)]


async def test_while_two_secrets_of_an_endpoint_overlap_both_generations_are_in_use(
    store: Store, database: asyncpg.Connection, clock: Clock
) -> None:
    await store.add_endpoint(an_endpoint("w", 1), at_most=9)
    rotated = await store.rotate_endpoint("w", "acme", overlap_s=60, master=2)
    assert rotated is not None
    assert (rotated.generation, rotated.master) == (2, 2)
    assert await living(store) == {2: (0, 1), 1: (0, 1)}
    await database.execute(
        "INSERT INTO deliveries (id, event_id, tenant, endpoint_id, url, host, event_type, body, give_up_at) "
        "VALUES (gen_random_uuid(), 'e', 'acme', 'w', '', 'h', 'video.completed', '', 'infinity')"
    )
    (attempt,) = await store.lease_deliveries(limit=1, per_host=1, per_tenant=1, lease_s=1)
    assert (attempt.generation, attempt.overlaps, attempt.master, attempt.previous_master) == (2, True, 2, 1)
    await clock.advance(61)
    assert await living(store) == {2: (0, 1)}


async def test_a_generation_ends_with_all_that_lives_on_it_and_nothing_else(
    store: Store, database: asyncpg.Connection
) -> None:
    for generation in (1, 2):
        await store.add_key(f"k{generation}", "acme", "", master=generation)
        await store.add_endpoint(an_endpoint(f"w{generation}", generation), at_most=9)
        await store.show_secret(f"tenant-{generation}", master=generation)
    past = datetime.now(UTC) - timedelta(days=1)
    await store.add_key("expired", "acme", "", rights=Rights(expires_at=past), master=1)
    await store.rotate_endpoint("w2", "acme", overlap_s=600, master=1)  # so one that overlaps is of the other
    await store.rotate_endpoint("w2", "acme", overlap_s=600, master=2)
    await store.record_uses({"k1": 0.0})
    before = {use.generation: use for use in await store.masters_in_use()}
    assert {generation: (use.keys, use.secrets) for generation, use in before.items()} == {1: (1, 3), 2: (1, 2)}
    assert (before[1].used_at is not None, before[2].used_at) == (True, None)

    ended = await store.retire_master(1, successor=2)
    assert (set(ended.keys), ended.endpoints, ended.tenants) == ({"k1", "expired"}, ["w1"], ["tenant-1"])
    told = {(entry.action, entry.values["object"]): entry for entry in (await entries(store))[-5:]}
    assert told.keys() == {
        ("key.revoke", "key:k1"), ("key.revoke", "key:expired"), ("webhook.rotate", "webhook:w1"),
        ("webhook.rotate", "tenant:tenant-1"), ("master.retire", "master:1"),
    }  # fmt: skip
    assert told["webhook.rotate", "tenant:tenant-1"].values["tenant"] == "tenant-1"
    assert told["master.retire", "master:1"].after == {"successor": 2, "keys": 2, "secrets": 2}
    assert await store.masters_in_use() == [MasterUse(generation=2, keys=1, secrets=4, used_at=None)]
    assert await store.signing_secrets(1) == []
    assert {key.id for key in await store.list_keys() if key.revoked_at is None} == {"k2"}
    for name, generation in (("w1", 2), ("w2", 3)):
        endpoint = await store.find_endpoint(name, "acme")
        assert endpoint is not None
        assert (endpoint.generation, endpoint.master) == (generation, 2)
    assert await store.show_secret("tenant-1") == SecretMark(generation=2, master=2)
    assert await store.show_secret("tenant-2") == SecretMark(generation=1, master=2)
    revoked = await database.fetchval("SELECT revoked_at FROM keys WHERE id = 'k1'")
    assert await store.retire_master(1, successor=2) == Retired(keys=[], endpoints=[], tenants=[])
    assert len(await entries(store, action="master.retire")) == 1
    assert await database.fetchval("SELECT revoked_at FROM keys WHERE id = 'k1'") == revoked


async def test_a_manifest_is_found_by_the_key_that_signed_it_until_another_does(
    store: Store, database: asyncpg.Connection
) -> None:
    campaigns = [f"campaign-{number}" for number in range(3)]
    for number, campaign in enumerate(campaigns):
        await store.add_campaign(an_ended_campaign(campaign, f"key-{number}"))
    for campaign, key_id in zip(campaigns, ("old", "old", "new"), strict=True):
        mark = {"revision": 1, "final": True, "rows": 0, "sha256": "0" * 64, "key": f"m/{campaign}", "key_id": key_id}
        await database.execute("UPDATE campaigns SET manifest = $2 WHERE id = $1", campaign, json.dumps(mark))
    first, second = await store.manifests_signed("old", limit=9)
    assert [first.campaign, second.campaign] == campaigns[:2]
    assert await store.manifests_signed("old", limit=1) == [first]
    assert await store.manifests_signed("old", limit=9, after=first.campaign) == [second]
    assert await store.note_signature(first, "new")
    assert not await store.note_signature(first, "new")
    stale = ManifestMark(revision=1, final=True, rows=0, sha256="0" * 64, key="another revision's", key_id="old")
    assert not await store.note_signature(SignedManifest(campaign=second.campaign, mark=stale), "new")
    assert await store.manifests_signed("old", limit=9) == [second]
