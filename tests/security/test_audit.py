"""Attacks on the audit log by whoever has the database, and perhaps the master key: each leaves a trace, by name."""

from __future__ import annotations

import json
from dataclasses import replace

import asyncpg
import pytest

from orchestrator.domain.audit import digest_of
from orchestrator.domain.audit_chain import Keys, Seal, checkpoint_at, sealed
from orchestrator.domain.errors import IntegrityError
from orchestrator.store import Store
from tests.support.auditing import (
    ADMIN,
    DAY,
    KEYS,
    changed,
    entries,
    erased,
    head,
    seal,
    sealed_log,
    sealer,
    verified,
)
from tests.support.postgres import Clock

# What an administrator of the database can do to ids: rows that go somewhere else with all they have.
_TAKE = (
    "CREATE TEMP TABLE taken AS SELECT * FROM audit WHERE id IN ({0}, {1}); DELETE FROM audit WHERE id IN ({0}, {1})"
)
_GIVE = "INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM taken; DROP TABLE taken"
_SWAP = f"{_TAKE}; UPDATE taken SET id = {{0}} + {{1}} - id; {_GIVE}"

_TABLES = ("audit", "audit_seals")

# What is done with SQL, `{0}` and `{1}` being the entries of seal 3; and what is said of it.
TAMPERED = {
    "a value": (
        """UPDATE audit SET after = '{{"weight":9}}' WHERE id = {0}""",
        ["entry {0} was changed: after"],
    ),
    "who it was": ("UPDATE audit SET actor = 'key:other' WHERE id = {1}", ["entry {1} was changed: actor"]),
    "a value where none was": (
        """UPDATE audit SET before = '{{}}' WHERE id = {0}; UPDATE audit SET address = NULL WHERE id = {0}""",
        ["entry {0} was changed: address, before"],
    ),
    "the time": (
        "UPDATE audit SET at = at - interval '1 day' WHERE id = {0}",
        ["entry {0} was changed: it is not what was sealed (seal 3)"],
    ),
    "the outcome": (
        "UPDATE audit SET outcome = 'refused' WHERE id = {0}",
        ["entry {0} was changed: it is not what was sealed (seal 3)"],
    ),
    "one removed": ("DELETE FROM audit WHERE id = {1}", ["entry {1} was removed (seal 3)"]),
    "one inserted": (
        "INSERT INTO audit (action, outcome, actor, salts, digests, seal) "
        "VALUES ('key.create', 'done', 'x', '{{}}', '{{}}', 3)",
        ["entry {2} was inserted (seal 3 does not have it)", "entry {2} was changed: actor"],
    ),
    "two in each other's place": (
        _SWAP,
        [
            "entry {0} was changed: it is not what was sealed (seal 3)",
            "entry {1} was changed: it is not what was sealed (seal 3)",
        ],
    ),
    "one in another seal": (
        "UPDATE audit SET seal = 2 WHERE id = {0}",
        ["entry {0} was inserted (seal 2 does not have it)", "entry {0} was taken out of seal 3"],
    ),
    "one out of its seal": (
        "UPDATE audit SET seal = NULL WHERE id = {0}",
        ["entry {0} was taken out of seal 3"],
    ),
    "a seal removed": (
        "DELETE FROM audit_seals WHERE number = 3",
        [
            "seal 3 is missing",
            "entry {0} names seal 3, which is not there",
            "entry {1} names seal 3, which is not there",
        ],
    ),
    "a seal removed with what it covers": (
        "DELETE FROM audit_seals WHERE number = 3; DELETE FROM audit WHERE seal = 3",
        ["seal 3 is missing"],
    ),
    "the beginning removed": (
        "DELETE FROM audit_seals WHERE number <= 2; DELETE FROM audit WHERE seal <= 2",
        ["seals 1 to 2 are missing, and no checkpoint says that they were deleted"],
    ),
    "two seals in each other's place": (
        """UPDATE audit_seals SET number = 99 WHERE number = 2; UPDATE audit_seals SET number = 2 WHERE number = 3;
           UPDATE audit_seals SET number = 3 WHERE number = 99;
           UPDATE audit SET seal = 5 - seal WHERE seal IN (2, 3)""",
        [
            "seal 2 does not go on from seal 1 as it is",
            "seal 2 was changed: its head is not its own",
            "seal 3 does not go on from seal 2 as it is",
            "seal 3 was changed: its head is not its own",
            "seal 4 does not go on from seal 3 as it is",
        ],
    ),
    "a value blanked as an erasure does it": (
        "UPDATE audit SET actor = NULL, salts = salts - 'actor' WHERE id = {0}",
        ["entry {0} was blanked, and no erasure says so: actor"],
    ),
    "what holds nothing that can be read": (
        """UPDATE audit SET digests = '[[1]]', salts = '7', after = 'no JSON' WHERE id = {0}""",
        [
            "entry {0} was changed: it is not what was sealed (seal 3)",
            "entry {0} was changed: actor, actor_tenant, address, request_id, tenant, object, before, after",
        ],
    ),
    # What would end the check itself, and so hide all the rest.
    "a salt that is none": (
        """UPDATE audit SET salts = jsonb_set(salts, '{{actor}}', '"zz"') WHERE id = {0}""",
        ["entry {0} was changed: actor"],
    ),
    "a digest that is none": (
        """UPDATE audit SET digests = jsonb_set(digests, '{{actor}}', '"\u00e9"') WHERE id = {0}""",
        ["entry {0} was changed: it is not what was sealed (seal 3)", "entry {0} was changed: actor"],
    ),
    "a head that is none": (
        "UPDATE audit_seals SET head = '\u00e9' WHERE number = 3",
        ["seal 3 was changed: its head is not its own", "seal 4 does not go on from seal 3 as it is"],
    ),
    "a time that no calendar here has": (
        "UPDATE audit SET at = '0044-03-15 BC' WHERE id = {0}; UPDATE audit SET at = '-infinity' WHERE id = {1}",
        [
            "entry {0} was changed: it is not what was sealed (seal 3)",
            "entry {1} was changed: it is not what was sealed (seal 3)",
        ],
    ),
    "a seal's time that no calendar here has": (
        "UPDATE audit_seals SET at = '20000-03-15' WHERE number = 3",
        ["seal 3 was changed: its head is not its own", "seal 4 does not go on from seal 3 as it is"],
    ),
    "an erasure that names no entries": (
        """UPDATE audit SET action = 'tenant.erase', after = '{{"blanked":{{"object":7,"actor":[[1]]}}}}'
           WHERE id = {0}""",
        ["entry {0} was changed: it is not what was sealed (seal 3)", "entry {0} was changed: after"],
    ),
    "half a surrogate pair": (
        """UPDATE audit SET after = '{{"weight":"\\ud800"}}' WHERE id = {0}""",
        ["entry {0} was changed: after"],
    ),
}


async def test_what_is_done_to_the_log_with_sql_is_found_and_named(
    store: Store, database: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    one, other = (await sealed_log(store))[2:4]  # seal 1 has what was there before
    for table in _TABLES:
        await database.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    for how, (sql, said) in TAMPERED.items():
        assert (await verified(store)).findings == []
        await database.execute(sql.format(one, other))
        newest = await database.fetchval("SELECT max(id) FROM audit")
        with subtests.test(how):
            assert (await verified(store)).findings == [each.format(one, other, newest) for each in said]
            for entry in await entries(store):  # and all of it can still be shown
                json.dumps([entry.before, entry.after, entry.at.isoformat()], ensure_ascii=False).encode()
        for table in _TABLES:
            await database.execute(f"DELETE FROM {table}")
            await database.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{table}")


async def test_digests_made_anew_by_who_knows_how_are_not_those_that_were_sealed(
    store: Store, database: asyncpg.Connection
) -> None:
    """Salt and digest are in the row: whoever can write it can make a value fit them, but not its seal."""
    one = (await sealed_log(store))[2]
    text = '{"weight":9}'
    await database.execute(
        """UPDATE audit SET after = $2, salts = jsonb_set(salts, '{after}', to_jsonb($3::text)),
           digests = jsonb_set(digests, '{after}', to_jsonb($4::text)) WHERE id = $1""",
        one, text, "00" * 16, digest_of("after", "00" * 16, text),
    )  # fmt: skip
    (entry,) = [entry for entry in await entries(store) if entry.id == one]
    assert entry.changed() == []
    assert (await verified(store)).findings == [f"entry {one} was changed: it is not what was sealed (seal 3)"]
    # Nor when the seal is made to fit, since its head cannot be.
    await database.execute(
        "UPDATE audit_seals SET digests = array_replace(digests, digests[1], $1) WHERE number = 3", entry.digest
    )
    assert (await verified(store)).findings == [
        "seal 3 was changed: its head is not its own",
        "seal 4 does not go on from seal 3 as it is",
    ]


async def rewritten(store: Store, database: asyncpg.Connection, keys: Keys) -> None:
    """All seals made anew, over what is there now, by a holder of these keys."""
    last: Seal | None = None
    rows = await entries(store)
    for each in await store.audit_seals(after=0, limit=100):
        mine = [row for row in rows if row.seal == each.number]
        last = sealed(mine, last, each.at, keys)
        await database.execute(
            "UPDATE audit_seals SET previous = $2, ids = $3, digests = $4, key = $5, head = $6 WHERE number = $1",
            last.number, last.previous, list(last.ids), list(last.digests), last.key, last.head,
        )  # fmt: skip


async def test_a_chain_made_anew_with_another_key_is_nobodys_and_nothing_is_sealed_behind_it(
    store: Store, database: asyncpg.Connection
) -> None:
    ids = await sealed_log(store)
    await database.execute("DELETE FROM audit WHERE id = $1", ids[0])
    await rewritten(store, database, Keys(["what the attacker likes"]))
    (finding,) = (await verified(store)).findings
    assert finding == "seals 1 to 4 are made with a master key that is not here, and nothing behind vouches for that"
    await changed(store, "acme", 3.0)
    with pytest.raises(IntegrityError, match="seal 4 was not made with this deployment's master key"):
        await sealer(store).run_once()
    # Whoever has lost the master key, and looked, goes on; the log says so.
    assert await store.accept_audit(lambda *what: checkpoint_at(*what, KEYS)) is not None
    await sealer(store).run_once()
    report = await verified(store)
    assert (report.findings, report.waiting) == ([], 0)
    assert (await entries(store))[-1].action == "audit.accept"


async def test_a_chain_made_anew_with_the_master_key_is_found_with_a_head_that_was_kept(
    store: Store, database: asyncpg.Connection
) -> None:
    ids = await sealed_log(store)
    kept = await head(store)
    await database.execute("DELETE FROM audit WHERE id = $1", ids[3])
    await rewritten(store, database, KEYS)
    assert (await verified(store)).findings == []  # nothing in the database could tell
    assert (await verified(store, kept=[kept])).findings == [
        "seal 4 is not the one that was kept: the log was written anew up to there"
    ]


async def test_an_end_that_is_cut_off_is_found_with_a_head_that_was_kept(
    store: Store, database: asyncpg.Connection
) -> None:
    await sealed_log(store)
    kept = await head(store)
    await database.execute("DELETE FROM audit WHERE seal = 4; DELETE FROM audit_seals WHERE number = 4")
    assert (await verified(store)).findings == []
    assert (await verified(store, kept=[kept])).findings == [
        "the log ends with seal 3, and seal 4 was kept: the end is missing"
    ]


async def test_a_head_of_another_deployment_says_nothing_of_this_one(store: Store) -> None:
    await sealed_log(store)
    kept = await head(store)
    (finding,) = (await verified(store, kept=[replace(kept, deployment="another")])).findings
    assert finding == "the head of seal 4 is of another deployment, another"


class TestSealing:
    async def test_a_transaction_that_commits_late_is_left_out_of_nothing(
        self, store: Store, database: asyncpg.Connection
    ) -> None:
        """Its entry has the lower id, and is not there yet when those behind it are: they wait for it, unsealed."""
        await seal(store)
        late = database.transaction()
        await late.start()
        insert = "INSERT INTO audit (action, outcome, salts, digests) VALUES ('key.create', 'done', '{}', '{}')"
        await database.execute(insert)
        await changed(store, "acme", 2.0)  # and nobody waits for its row
        assert await seal(store) == 0
        waiting = await store.unsealed()
        assert waiting.count == 1
        await late.commit()
        assert await seal(store) == 1
        last = await store.last_seal()
        assert last is not None
        first, second = await entries(store, action="key.create") + await entries(store, action="tenant.weight")
        assert list(last.ids) == [first.id, second.id]
        assert first.id < second.id
        assert (await verified(store)).findings == []

    async def test_what_another_server_has_numbered_is_sealed_when_the_database_has_moved(
        self, store: Store, database: asyncpg.Connection
    ) -> None:
        await seal(store)
        await changed(store, "acme", 2.0)
        await database.execute("UPDATE audit SET xid = '999999999999' WHERE seal IS NULL")
        assert await seal(store) == 1

    async def test_only_one_seals_at_a_time(self, store: Store, database: asyncpg.Connection) -> None:
        other = database.transaction()
        await other.start()
        await database.execute("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:audit', 0))")
        assert await seal(store) == 0
        await other.rollback()
        assert await seal(store) == 1

    async def test_an_entry_that_holds_nothing_readable_holds_up_no_other(
        self, store: Store, database: asyncpg.Connection
    ) -> None:
        insert = (
            "INSERT INTO audit (at, action, outcome, salts, digests, after) "
            "VALUES ('-infinity', '?', '?', '7', '[[[]]]', '[')"
        )
        await database.execute(insert)
        await changed(store, "acme", 2.0)
        await sealer(store).run_once()
        assert (await store.unsealed()).count == 0


async def test_a_change_and_its_entry_are_there_together_or_not_at_all(
    store: Store, database: asyncpg.Connection
) -> None:
    await changed(store, "acme", 2.0)
    await database.execute("ALTER TABLE audit ADD CONSTRAINT full_disk CHECK (tenant <> 'acme') NOT VALID")
    with pytest.raises(Exception, match="full_disk"):
        await changed(store, "acme", 3.0)
    assert [tenant.weight for tenant in await store.list_tenants()] == [2.0]
    assert len(await entries(store, tenant="acme")) == 1


class TestRetention:
    async def test_what_is_old_goes_by_whole_seals_and_what_is_left_verifies(self, store: Store, clock: Clock) -> None:
        await sealed_log(store)
        early = await head(store)
        await clock.advance(30 * DAY)
        await changed(store, "acme", 3.0)
        mine = sealer(store, keep_days=20)
        await mine.run_once()
        await mine.prune()
        await mine.run_once()
        report = await verified(store)
        assert (report.findings, report.seals, report.entries, report.pruned) == ([], 2, 2, 7)
        assert [entry.action for entry in await entries(store)] == ["tenant.weight", "audit.prune"]
        # The last seal that is gone is vouched for; of earlier ones nothing can be said.
        assert (await verified(store, kept=[early])).findings == []
        (finding,) = (await verified(store, kept=[replace(early, number=2)])).findings
        assert finding == "the kept seal 2 was deleted, so nothing can be said: keep later ones"

    async def test_the_last_seal_stays_however_old_it_is(self, store: Store, clock: Clock) -> None:
        await sealed_log(store)
        await clock.advance(1000 * DAY)
        await sealer(store, keep_days=1).prune()
        assert (await verified(store)).seals == 1

    @pytest.mark.parametrize(
        ("sql", "said"),
        [
            ("DELETE FROM audit_checkpoints", "no checkpoint says that they were deleted"),
            ("UPDATE audit_checkpoints SET entries = 1", "was not made with this deployment's master key"),
            ("UPDATE audit_checkpoints SET key = 'mine'", "was not made with this deployment's master key"),
        ],
    )
    async def test_what_is_deleted_by_another_has_no_checkpoint(
        self, store: Store, database: asyncpg.Connection, clock: Clock, sql: str, said: str
    ) -> None:
        await sealed_log(store)
        await clock.advance(30 * DAY)
        await changed(store, "acme", 3.0)
        await sealer(store).run_once()
        await sealer(store, keep_days=20).prune()
        await database.execute(sql)
        (finding,) = (await verified(store)).findings
        assert said in finding

    async def test_what_was_tampered_with_does_not_go_under_a_checkpoint(
        self, store: Store, database: asyncpg.Connection, clock: Clock
    ) -> None:
        await sealed_log(store)
        await database.execute("UPDATE audit_seals SET head = 'x' WHERE number = 3")
        await clock.advance(30 * DAY)
        with pytest.raises(IntegrityError, match="seal 3"):
            await sealer(store, keep_days=20).prune()


class TestErasure:
    async def test_a_tenants_values_are_gone_with_their_salts_and_the_chain_verifies(
        self, store: Store, database: asyncpg.Connection
    ) -> None:
        await changed(store, "umbrella", 2.0)
        await store.add_key("cgm_theirs", "umbrella", "of hers", master=1)
        await seal(store)
        theirs = replace(ADMIN, name="key:cgm_theirs", tenant="umbrella", address="198.51.100.77")
        await changed(store, "acme", 3.0, by=theirs)
        assert await erased(store, "umbrella") == 3
        await seal(store)
        report = await verified(store)
        assert (report.findings, report.erased) == ([], 3)
        text = await database.fetchval("SELECT string_agg(a::text, ' ') FROM audit AS a")
        for word in ("umbrella", "cgm_theirs", "198.51.100.77", "of hers"):
            assert word not in text
        # Who did it to them, and what they did to others, stays.
        by_admin, made, by_them = [entry for entry in await entries(store) if entry.erased]
        assert by_admin.values == {
            "actor": "key:cgm_admin", "actor_tenant": "platform", "address": "203.0.113.9", "request_id": "req-1"
        }  # fmt: skip
        assert made.values == {"actor": "nobody"}
        assert by_them.values["object"] == "tenant:acme"
        # Nobody can guess a value and try it.
        assert by_admin.erased.isdisjoint(by_admin.salts)

    async def test_an_erasure_vouches_for_no_value_but_those_that_it_names(
        self, store: Store, database: asyncpg.Connection
    ) -> None:
        await changed(store, "umbrella", 2.0)
        await erased(store, "umbrella")
        one = (await entries(store, action="tenant.weight"))[0].id
        await database.execute("UPDATE audit SET actor = NULL, salts = salts - 'actor' WHERE id = $1", one)
        assert (await verified(store)).findings == [f"entry {one} was blanked, and no erasure says so: actor"]
