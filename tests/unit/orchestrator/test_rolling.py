"""A roll never loses what renders, never makes a cluster twice, and always ends. Replays by seed.

A world of clusters in memory, whose rows are guarded as the store guards them. Controllers decide on what they saw some
time ago, die after any action, and act side by side; releases change their minds; workers come, die and come back.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from orchestrator.domain.clusters import ClusterState
from orchestrator.policy.rolling import (
    FENCE_S,
    Action,
    Create,
    Forget,
    GiveUp,
    Move,
    Remove,
    Standing,
    Strategy,
    Target,
    decide,
    overdue,
)

POOLS = ("big", "small")
DEADLINE_S = 1000.0


@dataclass
class Cluster:
    """One cluster: its row, its objects, and what goes on in it."""

    name: str
    state: ClusterState = ClusterState.COMING
    version: int = 0
    since: float = 0.0
    obeyed: bool = False
    successor: str | None = None
    objects: bool = False
    # What its dispatcher has read last: whether it retires; and whether it lives.
    heard: bool = False
    told: bool = True
    wants: Counter[str] = field(default_factory=lambda: Counter(big=2, small=1))
    ready: Counter[str] = field(default_factory=Counter)
    renders: int = 0
    # While it yields: what its dispatcher tells, the hosts that it gives up, and those that it has been told to.
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)
    gives: dict[str, dict[str, int]] = field(default_factory=dict)
    leaves: set[str] = field(default_factory=set)

    def pods(self) -> dict[str, dict[str, int]]:
        """Each ready worker has a host of its own, which is there empty once the worker has left it."""
        held = {f"{self.name}-{pool}-{i}": {pool: 1} for pool, count in self.ready.items() for i in range(count)}
        return held | {host: {} for host in self.leaves}


class World:
    def __init__(self, seed: int, strategy: Strategy = Strategy.SURGE) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.clusters: dict[str, Cluster] = {}
        self.target = Target(name="a", pools=frozenset(POOLS), strategy=strategy, deadline_s=DEADLINE_S)
        # What a controller has decided and not done yet, with the versions that it saw.
        self.pending: list[tuple[Action, dict[str, int], set[str]]] = []

    def standings(self) -> list[Standing]:
        return [
            Standing(
                name=it.name,
                state=it.state,
                age_s=self.now - it.since,
                cluster_exists=it.objects,
                objects_exist=it.objects,
                ready=dict(it.ready),
                told=dict(it.wants) if it.objects else {},
                running=it.renders,
                obeyed=it.obeyed,
                successor=it.successor,
                heard=it.objects and it.told,
                hosts=it.hosts,
                gives=it.gives,
            )
            for it in self.clusters.values()
        ]

    # ------------------------------------------------------------ what may happen
    def controller_looks(self) -> None:
        seen = self.standings()
        versions = {it.name: it.version for it in self.clusters.values()}
        actions = decide(self.target, seen)
        self.check(seen, actions)
        with_objects = {it.name for it in self.clusters.values() if it.objects}
        self.pending += [(action, versions, with_objects) for action in actions]

    def controller_acts(self) -> None:
        if self.pending:
            self.carry_out(*self.pending.pop(self.random.randrange(len(self.pending))))

    def controller_dies(self) -> None:
        self.pending.clear()

    def release_changes(self) -> None:
        self.target = replace(self.target, name=self.random.choice("abc"))

    def worker_comes(self) -> None:
        for it in self._some():
            if it.objects:
                short = [pool for pool in POOLS if it.ready[pool] < it.wants[pool]]
                it.ready.update(short[:1])

    def worker_dies(self) -> None:
        for it in self._some():
            it.ready -= Counter(self.random.choices(POOLS))

    def cluster_resizes(self) -> None:
        for it in self._some():
            it.wants = Counter(big=self.random.randint(0, 3), small=self.random.randint(0, 2))
            it.ready &= it.wants

    def dispatcher_reads(self) -> None:
        """It hears of the wish; having heard that it retires, it says so; what is given up leaves."""
        for it in self._some():
            self._reads(it)

    def _reads(self, it: Cluster) -> None:
        if not it.told:
            return
        it.heard = not it.state.claims
        if it.state is ClusterState.RETIRING:
            it.obeyed = True
        if it.state is ClusterState.YIELDING and it.objects:
            for host in set(it.gives) - it.leaves:
                it.leaves.add(host)
                it.ready -= Counter(it.gives[host])
            it.wants &= it.ready
            it.hosts = it.pods()

    def dispatcher_reads_everywhere(self) -> None:
        for it in self.clusters.values():
            self._reads(it)

    def dispatcher_dies(self) -> None:
        for it in self._some():
            it.told = self.random.random() < 0.5

    def render_begins(self) -> None:
        """Where claims are made; one that had looked before a wish may come until the fence is over."""
        for it in self._some():
            late = it.state is ClusterState.RETIRING and not it.heard and self.now - it.since < FENCE_S
            if it.objects and sum(it.ready.values()) and (it.state.claims or late):
                it.renders += 1

    def render_ends(self) -> None:
        for it in self._some():
            it.renders = max(0, it.renders - self.random.randint(1, 3))

    def time_passes(self) -> None:
        self.now += self.random.choice([1, 10, FENCE_S, DEADLINE_S])

    def objects_are_deleted_by_hand(self) -> None:
        for it in self._some():
            if self.random.random() < 0.2:
                it.objects, it.ready, it.renders = False, Counter(), 0

    def _some(self) -> list[Cluster]:
        return [self.random.choice(list(self.clusters.values()))] if self.clusters else []

    # ------------------------------------------------------------ the store's and the API server's guards
    def carry_out(self, action: Action, versions: dict[str, int], with_objects: set[str]) -> None:
        known = self.clusters.get(action.name)
        match action:
            case Create():
                if known is None:
                    known = self.clusters[action.name] = Cluster(action.name, since=self.now)
                if known.state is not ClusterState.ENDING:
                    known.objects = True
            case Move(to=to, successor=successor):
                if known is None or known.version != versions.get(action.name) or known.state is ClusterState.ENDING:
                    return
                if to is ClusterState.ENDING:
                    late = known.obeyed or self.now - known.since > FENCE_S
                    gone = action.name not in with_objects
                    if known.renders or not (gone or (known.state is ClusterState.RETIRING and late)):
                        return
                known.state, known.since, known.version = to, self.now, known.version + 1
                known.obeyed, known.successor = False, successor
                known.hosts, known.gives, known.leaves = {}, {}, set()
            case GiveUp(hosts=hosts):
                if known is not None and known.version == versions.get(action.name):
                    assert known.state is ClusterState.YIELDING
                    known.gives, known.version = known.gives | dict(hosts), known.version + 1
            case Remove():
                if known is not None and known.state is ClusterState.ENDING:
                    assert known.renders == 0, "a cluster was deleted while it rendered"
                    known.objects, known.ready, known.heard = False, Counter(), False
            case Forget():
                if known is not None and known.version == versions.get(action.name):
                    assert not known.objects
                    del self.clusters[action.name]

    # ------------------------------------------------------------ what must hold
    def check(self, seen: Sequence[Standing], actions: Sequence[Action]) -> None:
        by_name = {each.name: each for each in seen}
        assert len({action.name for action in actions}) == len(actions), "two actions about one cluster"
        creates = [action for action in actions if isinstance(action, Create)]
        assert len(creates) <= 1
        for create in creates:
            assert create.name == self.target.name
            assert create.name not in by_name or not by_name[create.name].objects_exist
        for action in actions:
            if isinstance(action, Remove):
                assert by_name[action.name].state is ClusterState.ENDING
            if isinstance(action, Move) and action.to is ClusterState.ENDING:
                assert by_name[action.name].running == 0
        if self.target.strategy is Strategy.SURGE:
            self.check_capacity(by_name, actions)
        self.check_pace(by_name, actions)

    def check_pace(self, by_name: dict[str, Standing], actions: Sequence[Action]) -> None:
        """Of the old clusters' workers at most one more is given up than the new one has ready ones."""
        new = by_name.get(self.target.name)
        given = [each.gives for each in by_name.values() if each.name != self.target.name]
        more = [action.hosts for action in actions if isinstance(action, GiveUp)]
        if any(any(held.values()) for hosts in more for held in hosts.values()):
            assert new is not None
            count = sum(sum(held.values()) for hosts in given + more for held in hosts.values())
            assert count <= 1 + sum(new.ready.values())

    def check_capacity(self, by_name: dict[str, Standing], actions: Sequence[Action]) -> None:
        """Of each pool as many ready workers claim as before, or all that the new cluster wants."""
        retiring = [
            by_name[action.name]
            for action in actions
            if isinstance(action, Move) and action.to is ClusterState.RETIRING and by_name[action.name].cluster_exists
        ]
        lost = sum((Counter(each.ready) for each in retiring), Counter[str]())
        new = by_name.get(self.target.name)
        for pool, count in lost.items():
            assert new is not None
            assert new.ready.get(pool, 0) >= min(count, max(1, new.told.get(pool, 0)))
        if lost:
            assert new is not None
            assert new.state is ClusterState.SERVING
            assert any(new.ready.values())

    # ------------------------------------------------------------ the run
    def chaos(self) -> None:
        events: dict[Callable[[], None], int] = {
            self.controller_looks: 40,
            self.controller_acts: 60,
            self.controller_dies: 3,
            self.release_changes: 5,
            self.worker_comes: 40,
            self.worker_dies: 8,
            self.cluster_resizes: 3,
            self.dispatcher_reads: 20,
            self.dispatcher_dies: 3,
            self.render_begins: 40,
            self.render_ends: 30,
            self.time_passes: 15,
            self.objects_are_deleted_by_hand: 2,
        }
        deck = [event for event, count in events.items() for _ in range(count)]
        self.random.shuffle(deck)
        for event in deck:
            event()

    def calm(self) -> None:
        """Nothing goes wrong any more: workers come, renders end, controllers look."""
        self.controller_dies()
        for _ in range(200):
            for it in self.clusters.values():
                it.told = True
                if it.state is not ClusterState.YIELDING:
                    it.wants = Counter(big=2, small=1)
                if it.objects:
                    it.ready = Counter(it.wants)
                it.renders, it.heard = 0, not it.state.claims
                it.obeyed = it.obeyed or it.state is ClusterState.RETIRING
                if it.state is ClusterState.KEPT:  # an operator asks for another try
                    it.state, it.version = ClusterState.SERVING, it.version + 1
            self.dispatcher_reads_everywhere()
            self.now += 1
            self.controller_looks()
            while self.pending:
                self.controller_acts()
            left = [(it.name, it.state) for it in self.clusters.values()]
            if not decide(self.target, self.standings()) and left == [(self.target.name, ClusterState.SERVING)]:
                return
        pytest.fail(f"it does not converge: {self.clusters}")


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.seeds(100)
def test_whatever_happens_no_render_is_lost_and_one_cluster_is_left(seed: int, strategy: Strategy) -> None:
    world = World(seed, strategy)
    world.chaos()
    world.calm()
    (left,) = world.clusters.values()
    assert (left.name, left.state, left.objects) == (world.target.name, ClusterState.SERVING, True)
    assert not overdue(world.target, world.standings())


def test_a_seed_replays() -> None:
    one, other = World(7), World(7)
    one.chaos()
    other.chaos()
    assert one.clusters == other.clusters


# ---------------------------------------------------------------- worked examples
SURGE = Target(name="new", pools=frozenset(POOLS), strategy=Strategy.SURGE, deadline_s=DEADLINE_S)
OLD = Standing(
    name="old", state=ClusterState.SERVING, age_s=9, cluster_exists=True, objects_exist=True,
    ready={"big": 2}, told={"big": 2}, running=3, heard=True,
)  # fmt: skip
NEW = replace(OLD, name="new", running=0)


def moves(target: Target, *standings: Standing) -> dict[str, ClusterState]:
    return {action.name: action.to for action in decide(target, standings) if isinstance(action, Move)}


def test_the_old_one_serves_until_the_new_one_is_as_ready() -> None:
    assert moves(SURGE, OLD, replace(NEW, ready={"big": 1})) == {}
    assert moves(SURGE, OLD, NEW) == {"old": ClusterState.RETIRING}


def test_a_pool_that_is_wanted_smaller_needs_no_more_than_it_will_have() -> None:
    assert moves(SURGE, OLD, replace(NEW, ready={"big": 1}, told={"big": 1})) == {"old": ClusterState.RETIRING}


def test_a_pool_that_the_new_one_does_not_have_is_not_waited_for() -> None:
    without = replace(SURGE, pools=frozenset({"small"}))
    assert moves(without, OLD, replace(NEW, ready={"small": 1}, told={"small": 1})) == {"old": ClusterState.RETIRING}


def test_a_new_one_that_never_has_a_worker_takes_nothing_from_the_old_one_and_hangs_after_the_deadline() -> None:
    broken = replace(NEW, state=ClusterState.COMING, ready={}, age_s=DEADLINE_S + 1)
    assert decide(SURGE, [OLD, broken]) == []
    assert overdue(SURGE, [OLD, broken])
    assert not overdue(SURGE, [OLD, replace(broken, age_s=5)])


def test_a_rollback_ends_the_new_one_at_once_and_leaves_the_old_one_alone() -> None:
    back = replace(SURGE, name="old")
    assert moves(back, OLD, replace(NEW, state=ClusterState.COMING, ready={})) == {"new": ClusterState.RETIRING}


def test_a_rollback_takes_a_cluster_back_that_retires() -> None:
    retiring = replace(OLD, state=ClusterState.RETIRING)
    assert moves(replace(SURGE, name="old"), retiring, NEW)["old"] is ClusterState.SERVING


def test_past_its_deadline_a_cluster_that_holds_renders_claims_again() -> None:
    late = replace(OLD, state=ClusterState.RETIRING, obeyed=True, age_s=DEADLINE_S + 1)
    assert moves(SURGE, late, NEW) == {"old": ClusterState.KEPT}
    kept = replace(late, state=ClusterState.KEPT, successor="new")
    assert decide(SURGE, [kept, NEW]) == []
    assert overdue(SURGE, [kept, NEW])


def test_a_cluster_that_was_kept_makes_way_for_another_one_than_before() -> None:
    kept = replace(OLD, state=ClusterState.KEPT, successor="new")
    assert moves(replace(SURGE, name="third"), kept)["old"] is ClusterState.SERVING


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("before", [{"big": 2}, {}], ids=["workers", "none"])
def test_a_release_that_asks_for_no_workers_waits_for_none(strategy: Strategy, before: dict[str, int]) -> None:
    """The dispatcher of a cluster without workers has nothing to tell, so neither is ever heard."""
    none = replace(SURGE, workerless=True, strategy=strategy)
    new = replace(NEW, state=ClusterState.COMING, ready={}, told={}, heard=False)
    old = replace(OLD, ready=before, told=before, heard=bool(before))
    assert moves(none, old, new) == {"old": ClusterState.RETIRING}
    yielding = replace(old, state=ClusterState.YIELDING, successor="new")
    assert moves(replace(none, strategy=Strategy.IN_PLACE), yielding, new) == {"old": ClusterState.RETIRING}
    assert moves(none, old, replace(new, cluster_exists=False)) == {}
    assert moves(replace(none, workerless=False), old, new) == {}


IN_PLACE = replace(SURGE, strategy=Strategy.IN_PLACE)
YIELDING = replace(
    OLD, state=ClusterState.YIELDING, successor="new", ready={"big": 2, "small": 1}, told={"big": 2, "small": 1},
    hosts={"p": {"big": 1}, "q": {"big": 1}, "r": {"small": 1}},
)  # fmt: skip
WAITS = replace(NEW, state=ClusterState.COMING, ready={}, told={"big": 2, "small": 1})


def gives(target: Target, *standings: Standing) -> list[str]:
    """The hosts that are given up next."""
    return [host for it in decide(target, standings) if isinstance(it, GiveUp) for host in it.hosts]


def test_in_place_the_old_one_begins_to_yield_once_the_new_ones_dispatcher_is_there() -> None:
    assert moves(IN_PLACE, OLD, replace(WAITS, heard=False, told={})) == {}
    assert moves(IN_PLACE, OLD, WAITS) == {"old": ClusterState.YIELDING}


def test_in_place_one_pod_goes_after_the_other_as_the_new_one_gets_ready() -> None:
    assert gives(IN_PLACE, YIELDING, WAITS) == ["p"]  # of its pool most are left
    leaving = replace(YIELDING, gives={"p": {"big": 1}})
    assert decide(IN_PLACE, [leaving, WAITS]) == []
    left = replace(leaving, hosts={**YIELDING.hosts, "p": {}})
    assert decide(IN_PLACE, [left, WAITS]) == []
    assert gives(IN_PLACE, left, replace(NEW, ready={"big": 1}, told=WAITS.told)) == ["q"]
    # Its GPU became one of the other pool: so that one's may go.
    assert gives(IN_PLACE, left, replace(NEW, ready={"small": 1}, told=WAITS.told)) == ["r"]


def test_in_place_a_pod_that_is_given_up_empties_before_the_next_one_does() -> None:
    leaving = replace(YIELDING, gives={"p": {"big": 1}})
    assert decide(IN_PLACE, [leaving, replace(NEW, ready={"big": 2}, told=WAITS.told)]) == []


def test_in_place_pods_without_workers_go_at_once() -> None:
    spare = replace(YIELDING, hosts={"p": {"big": 1}, "q": {}, "r": {"small": 1}}, gives={"s": {"big": 1}})
    assert gives(IN_PLACE, spare, WAITS) == ["q"]


def test_in_place_the_last_pod_goes_with_the_cluster() -> None:
    last = replace(YIELDING, hosts={"p": {}, "r": {"small": 1}}, gives={"p": {"big": 1}})
    assert decide(IN_PLACE, [last, WAITS]) == []
    assert moves(IN_PLACE, last, replace(NEW, ready={"big": 1}, told=WAITS.told)) == {"old": ClusterState.RETIRING}


def test_in_place_the_rest_goes_when_the_new_one_has_all_that_it_is_wanted_for() -> None:
    whole = replace(NEW, ready={"big": 1}, told={"big": 1})
    assert moves(IN_PLACE, YIELDING, whole) == {"old": ClusterState.RETIRING}
    # How many a pool of kinds will want nobody knows.
    assert gives(replace(IN_PLACE, elastic=frozenset({"big"})), YIELDING, whole) == ["p"]


def test_in_place_a_new_one_that_never_gets_ready_costs_one_pod_and_the_rest_is_kept_after_the_deadline() -> None:
    left = replace(YIELDING, hosts={**YIELDING.hosts, "p": {}}, gives={"p": {"big": 1}}, age_s=DEADLINE_S + 1)
    assert moves(IN_PLACE, left, WAITS) == {"old": ClusterState.KEPT}


def test_another_target_or_strategy_ends_the_yielding() -> None:
    assert moves(SURGE, YIELDING, WAITS) == {"old": ClusterState.SERVING}
    assert moves(replace(IN_PLACE, name="third"), YIELDING)["old"] is ClusterState.SERVING
    assert moves(replace(IN_PLACE, name="old"), YIELDING, WAITS)["old"] is ClusterState.SERVING


@pytest.mark.parametrize("target", [SURGE, IN_PLACE])
@pytest.mark.parametrize("state", [ClusterState.SERVING, ClusterState.YIELDING])
def test_a_fleet_without_workers_and_renders_makes_way_for_a_dispatcher_that_is_there(
    target: Target, state: ClusterState
) -> None:
    idle = replace(OLD, state=state, successor="new", ready={}, told={}, running=0)
    new = replace(idle, name="new", state=ClusterState.COMING)
    assert moves(target, idle, new) == {"old": ClusterState.RETIRING}
    for still in ({"running": 1}, {"told": {"big": 1}}, {"heard": False}):
        assert moves(target, replace(idle, **still), new).get("old") is not ClusterState.RETIRING
    assert moves(target, idle, replace(new, heard=False)).get("old") is not ClusterState.RETIRING


def test_one_whose_dispatcher_says_nothing_and_that_holds_nothing_makes_way() -> None:
    silent = replace(YIELDING, heard=False, ready={}, told={}, running=0)
    assert moves(IN_PLACE, silent, WAITS) == {}
    assert moves(IN_PLACE, replace(silent, age_s=FENCE_S + 1), WAITS) == {"old": ClusterState.RETIRING}


def test_without_a_word_of_its_dispatcher_an_empty_cluster_ends_once_no_claim_can_be_under_way() -> None:
    silent = replace(OLD, state=ClusterState.RETIRING, running=0, ready={})
    assert moves(SURGE, silent, NEW) == {}
    assert moves(SURGE, replace(silent, age_s=FENCE_S + 1), NEW) == {"old": ClusterState.ENDING}
