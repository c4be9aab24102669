"""The words that SQL spells: each state, outcome, stage and event of the store's SQL is one that the domain knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import StrEnum

import pytest
from sqlalchemy import CheckConstraint, DefaultClause, Table

from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.bulk import BulkState, Verb
from orchestrator.domain.campaign import CampaignState, Kind, Outcome, PassKind
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.loading import LoadState
from orchestrator.domain.orders import OrderKind
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.outlooks import Subject
from orchestrator.domain.protocol import Stage
from orchestrator.domain.reviews import EntryKind, Remedy, Verdict
from orchestrator.domain.states import JobState
from orchestrator.domain.webhooks import EVENT_TYPES, DeliveryState, Fate
from orchestrator.domain.worker_time import Spell
from orchestrator.ports.any_jobs import Fate as LetterFate
from orchestrator.ports.overview import FlowSubject
from orchestrator.ports.parked import ParkedKind
from orchestrator.store.erased_objects import AgainKind
from orchestrator.store.tables import metadata
from tests.support.sources import ROOT, trees


class ItemState(StrEnum):
    """Of requests as the release before keeps them, until they are taken over."""

    WAITING = "waiting"
    SUBMITTED = "submitted"
    ENDED = "ended"


class Period(StrEnum):
    DAY = "day"
    MONTH = "month"


class Unit(StrEnum):
    GPU_SECONDS = "gpu_seconds"
    MONEY = "money"


# Every column that a CHECK holds to a list of words, and the enum that has them.
CHECKED: dict[tuple[str, str], type[StrEnum]] = {
    ("jobs", "state"): JobState,
    ("attempts", "outcome"): AttemptOutcome,
    ("worker_loads", "state"): LoadState,
    ("batches", "status"): BatchStatus,
    ("batch_items", "state"): ItemState,
    ("deliveries", "state"): DeliveryState,
    ("parked", "kind"): ParkedKind,
    ("erasure_rest", "kind"): AgainKind,
    ("campaigns", "kind"): Kind,
    ("campaigns", "state"): CampaignState,
    ("campaign_rows", "outcome"): Outcome,
    ("campaign_passes", "kind"): PassKind,
    ("forecasts", "subject"): Subject,
    ("budgets", "period"): Period,
    ("budgets", "unit"): Unit,
    ("worker_time", "spell"): Spell,
    ("ray_clusters", "state"): ClusterState,
    ("worker_orders", "kind"): OrderKind,
    ("dead_letters", "fate"): LetterFate,
    ("bulk_actions", "action"): Verb,
    ("bulk_actions", "state"): BulkState,
    ("reviews", "decision"): Verdict,
    ("reviews", "action"): Remedy,
    ("review_entries", "kind"): EntryKind,
    ("flow_samples", "subject"): FlowSubject,
}
# Every column of words, and what they may be: also where no CHECK says so. `:fate` is a parameter, beside deliveries.
WORDS: dict[tuple[str, str], set[str]] = {place: set(enum) for place, enum in CHECKED.items()} | {
    ("jobs", "stage"): set(Stage),
    ("usage", "outcome"): set(AttemptOutcome),
    ("deliveries", ":fate"): set(Fate),
    ("outbox", "event"): set(EVENT_TYPES),
}

# What else SQL spells: PostgreSQL's own words, the beginning of an event's name (a job's state follows), and what
# stands here for a part that is put in.
OTHERS = {"infinity", "-infinity", "epoch", "null", "off", "synchronous_commit", "minute", "day", "hour", "UTC"}
# What budgets are counted in, and by; their columns stand beside others of the same words.
OTHERS |= {*Period, *Unit}
OTHERS |= {"plan_cache_mode", "force_generic_plan", "job.", "_"}
# Rights, in the catalogue's words.
OTHERS |= {"USAGE", "EXECUTE"}

_LITERAL = r"'([^']*)'"
_LIST = re.compile(rf"^(\w+) IN \(({_LITERAL}(?:, {_LITERAL})*)\)$")
# A column, of a table or an alias perhaps, and the words that it is compared with or set to.
_COMPARED = re.compile(
    rf"(?:(\w+)\.)?(?<![\w:])({'|'.join(sorted({column for _, column in WORDS}))})\s+"
    rf"(?:(?:=|<>|<|>|IS (?:NOT )?DISTINCT FROM|WHEN)\s+({_LITERAL})|(?:NOT )?IN\s+\(([^)]*)\))"
)
_NAMED = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)(?:\s+AS\s+(\w+))?")
# Keys of JSON documents, which are nobody's states: of an object that is taken apart, or put together.
_KEYS = re.compile(r"->>?\s*'[^']*'|jsonb_build_object\((?:[^()]|\([^()]*\))*\)")
_SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|WHERE|CASE|FROM)\b|(=|<>) '|\bIN \('")


def _statements() -> Iterator[tuple[str, str]]:
    """Where each text of SQL in the store stands, and the text; a part that is put into it reads `_`."""
    for path, tree in trees("orchestrator"):
        if not path.is_relative_to(ROOT / "orchestrator/store") or "migrations" in path.parts:
            continue
        skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if id(node) in skipped:
                continue
            if isinstance(node, ast.JoinedStr):
                skipped |= {id(part) for part in node.values}
                whole = "".join(str(part.value) if isinstance(part, ast.Constant) else "_" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                whole = node.value
            else:
                continue
            whole = re.sub(r"--.*", "", whole)
            if _SQL.search(whole):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", whole


def _strangers(sql: str) -> set[str]:
    """The words of a text of SQL that no column of the tables that it names may hold, or not the column beside them."""
    aliases: dict[str, str] = {}
    for table, alias in _NAMED.findall(sql):
        if table in metadata.tables:
            aliases |= {table: table, alias or table: table}
    named = set(aliases.values()) or {table for table, _ in WORDS}  # a part of a statement may be of any
    bare = _KEYS.sub(" ", sql)
    known = OTHERS.union(*(words for (table, _), words in WORDS.items() if table in named))
    strange = set(re.findall(r"(?<!\w)'([A-Za-z_.-]+)'", bare)) - known
    for found in _COMPARED.finditer(bare):
        tables = {aliases[found[1]]} if found[1] in aliases else named
        held = [words for (table, column), words in WORDS.items() if column == found[2] and table in tables]
        if held:
            strange |= set(re.findall(_LITERAL, found[0])) - set().union(*held)
    return strange


def _listed(table: Table) -> dict[str, set[str]]:
    """Each column of a table that a CHECK holds to a list of words, and the words."""
    found = (_LIST.match(check) for check in _checks(table))
    return {match[1]: set(re.findall(_LITERAL, match[2])) for match in found if match}


def _checks(table: Table) -> list[str]:
    return [str(each.sqltext) for each in table.constraints if isinstance(each, CheckConstraint)]


def test_the_database_takes_the_members_of_the_enums_and_nothing_else() -> None:
    listed = {
        (table.name, column): words for table in metadata.tables.values() for column, words in _listed(table).items()
    }
    assert listed == {place: set(enum) for place, enum in CHECKED.items()}


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_constraints_indexes_and_defaults_spell_words_of_their_own_table(table: Table) -> None:
    conditions = [str(index.dialect_options["postgresql"]["where"]) for index in table.indexes]
    for condition in (*_checks(table), *conditions):
        assert _strangers(f"FROM {table.name} WHERE {condition}") == set(), condition
    for column in table.columns:
        words = WORDS.get((table.name, column.name))
        if words and isinstance(column.server_default, DefaultClause):
            assert str(column.server_default.arg).strip("'") in words, column.name


def test_statements_spell_words_of_the_tables_that_they_name() -> None:
    strange = {where: strangers for where, sql in _statements() if (strangers := _strangers(sql))}
    assert strange == {}


def test_the_statements_are_found() -> None:
    spelt = {word for _, sql in _statements() for word in re.findall(_LITERAL, sql)}
    assert {*JobState, *ItemState, *DeliveryState, *ParkedKind} <= spelt


@pytest.mark.parametrize(
    ("sql", "strange"),
    [
        ("SELECT id FROM jobs WHERE state = 'quueued'", {"quueued"}),
        ("SELECT id FROM jobs AS j WHERE j.state IN ('held', 'quueued')", {"quueued"}),
        ("UPDATE jobs SET state = CASE WHEN state = 'running' THEN state ELSE 'canceled' END", {"canceled"}),
        ("SELECT CASE h.state WHEN 'waiting' THEN 1 END FROM jobs AS h", {"waiting"}),
        ("INSERT INTO outbox (event) SELECT 'job.canceled' FROM jobs", {"job.canceled"}),
        # The right word of another table.
        ("SELECT 1 FROM batch_items AS i JOIN jobs AS j ON true WHERE i.state = 'queued'", {"queued"}),
        ("SELECT 1 FROM batch_items AS i JOIN jobs AS j ON true WHERE j.state = 'waiting'", {"waiting"}),
        # The right word of another column.
        ("UPDATE jobs SET state = 'denoising'", {"denoising"}),
        ("UPDATE deliveries SET state = 'gone'", {"gone"}),
        ("SELECT 1 FROM batches WHERE status = 'canceling'", {"canceling"}),
        ("state = 'runing' AND cancel_requested_at IS NOT NULL", {"runing"}),
        ("SELECT spec ->> 'image' FROM jobs WHERE state = 'running' AND run_at < 'infinity'", set()),
    ],
)
def test_a_mistyped_word_is_found(sql: str, strange: set[str]) -> None:
    assert _strangers(sql) == strange


def test_the_outbox_has_an_event_for_each_end_of_a_job_and_of_a_batch_and_no_other() -> None:
    ends = {f"job.{state}" for state in JobState if state.terminal}
    ends |= {f"batch.{status}" for status in BatchStatus if status.terminal}
    # Of a campaign, beside its ends, what somebody may want to act on.
    ends |= {f"campaign.{state}" for state in CampaignState if state.ended}
    ends |= {f"campaign.{word}" for word in ("planned", "awaiting_approval", "progress", "paused", "resumed", "budget")}
    ends |= {"campaign.at_risk", "campaign.on_track"}
    assert set(EVENT_TYPES) == ends
