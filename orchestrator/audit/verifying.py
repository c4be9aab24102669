"""Checks the audit log against its seals, and these against heads that were kept elsewhere; says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.audit import OF_ACTOR, OF_OBJECT
from orchestrator.domain.audit_chain import START, Checkpoint, Entry, Head, Keys, Seal, is_genuine
from orchestrator.ports.audit import AuditStore

_SEALS_AT_ONCE = 20
# Of entries without a seal; and of findings, which a log that is all wrong has without end.
_MOST_LOOSE = 10_000
MOST_FINDINGS = 1_000


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found wrong."""

    seals: int = 0
    entries: int = 0
    # They wait for a seal.
    waiting: int = 0
    # Entries that an erasure has taken values of.
    erased: int = 0
    # Deleted by retention.
    pruned: int = 0
    end: Seal | None = None
    findings: list[str] = field(default_factory=list)

    def found(self, what: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(what)


async def verify(store: AuditStore, keys: Keys, *, kept: Sequence[Head] = (), deployment: str = "") -> Report:
    """Go through all of it. Raises `StoreUnavailable`."""
    while True:
        marks = await store.audit_marks()
        report = await _verified(store, keys, marks, kept, deployment)
        # What retention has deleted meanwhile is not missing.
        if not report.findings or await store.audit_marks() == marks:
            return report


async def _verified(
    store: AuditStore, keys: Keys, marks: Sequence[Checkpoint], kept: Sequence[Head], deployment: str
) -> Report:
    report = Report()
    lawful = _lawful(await store.audit_erasures())
    chain = _Chain(report, keys, marks, kept)
    for head in kept:
        if head.deployment != deployment:
            report.found(f"the head of seal {head.number} is of another deployment, {head.deployment}")
    after = 0
    while seals := await store.audit_seals(after=after, limit=_SEALS_AT_ONCE):
        entries = await store.audit_entries(seals)
        by_id = {entry.id: entry for entry in entries}
        for seal in seals:
            chain.go_on(seal)
            _check_entries(report, seal, by_id, [entry for entry in entries if entry.seal == seal.number], lawful)
        after = seals[-1].number
    chain.end()
    for entry in await store.loose_audit_entries(limit=_MOST_LOOSE):
        _check_loose(report, entry, lawful)
    return report


class _Chain:
    """Seals, one behind the other."""

    def __init__(self, report: Report, keys: Keys, marks: Sequence[Checkpoint], kept: Sequence[Head]) -> None:
        self._report = report
        self._keys = keys
        self._marks = {mark.number: mark for mark in marks}
        self._kept = kept
        self._first: int | None = None
        self._last: Seal | None = None
        # Of keys that are not here: a genuine one behind them vouches for them.
        self._unknown: list[int] = []

    def go_on(self, seal: Seal) -> None:
        self._report.seals += 1
        self._check_previous(seal)
        made = self._keys.head_of(seal)
        if made is None:
            self._unknown.append(seal.number)
        elif is_genuine(seal, self._keys):
            self._unknown.clear()
        else:
            self._report.found(f"seal {seal.number} was changed: its head is not its own")
        mark = self._marks.get(seal.number)
        if mark is not None and mark.link == seal.link and is_genuine(mark, self._keys):
            self._unknown.clear()
        elif mark is not None:
            self._report.found(f"seal {seal.number} is not the one that its checkpoint vouches for")
        if any(head.link != seal.link for head in self._kept if head.number == seal.number):
            self._report.found(f"seal {seal.number} is not the one that was kept: the log was written anew up to there")
        self._first = self._first or seal.number
        self._last = seal

    def _check_previous(self, seal: Seal) -> None:
        if self._last is not None:
            if seal.number != self._last.number + 1:
                self._report.found(f"{_seals(self._last.number + 1, seal.number - 1)} missing")
            elif seal.previous != self._last.link:
                self._report.found(f"seal {seal.number} does not go on from seal {self._last.number} as it is")
            return
        if seal.number == 1:
            if seal.previous != START:
                self._report.found("seal 1 does not begin a log")
            return
        mark = self._marks.get(seal.number - 1)
        if mark is None:
            self._report.found(f"{_seals(1, seal.number - 1)} missing, and no checkpoint says that they were deleted")
        elif not is_genuine(mark, self._keys):
            self._report.found(f"the checkpoint of seal {mark.number} was not made with this deployment's master key")
        elif seal.previous != mark.link:
            self._report.found(f"seal {seal.number} does not go on from what retention left")
        else:
            self._report.pruned = mark.entries

    def end(self) -> None:
        """All seals have been seen."""
        last = 0 if self._last is None else self._last.number
        if self._unknown:
            first, until = self._unknown[0], self._unknown[-1]
            self._report.found(
                f"{_seals(first, until)} made with a master key that is not here, and nothing behind vouches for that"
            )
        for head in self._kept:
            mark = self._marks.get(head.number)
            if head.number > last:
                self._report.found(
                    f"the log ends with seal {last}, and seal {head.number} was kept: the end is missing"
                )
            elif head.number >= (self._first or 0):
                continue  # it has been seen
            elif mark is None:
                self._report.found(f"the kept seal {head.number} was deleted, so nothing can be said: keep later ones")
            elif mark.link != head.link:
                self._report.found(f"seal {head.number} is not the one that was kept: the log was written anew")
        self._report.end = self._last


def _check_entries(
    report: Report,
    seal: Seal,
    by_id: Mapping[int, Entry],
    its_own: Sequence[Entry],
    lawful: Mapping[int, frozenset[str]],
) -> None:
    """The entries of one seal, one by one."""
    for each, digest in zip(seal.ids, seal.digests, strict=True):
        report.entries += 1
        entry = by_id.get(each)
        if entry is None:
            report.found(f"entry {each} was removed (seal {seal.number})")
            continue
        if entry.seal != seal.number:
            report.found(f"entry {each} was taken out of seal {seal.number}")
        if entry.digest != digest:
            report.found(f"entry {each} was changed: it is not what was sealed (seal {seal.number})")
        _check_values(report, entry, lawful)
    named = set(seal.ids)
    for entry in its_own:
        if entry.id not in named:
            report.found(f"entry {entry.id} was inserted (seal {seal.number} does not have it)")
            _check_values(report, entry, lawful)


def _check_loose(report: Report, entry: Entry, lawful: Mapping[int, frozenset[str]]) -> None:
    if entry.seal is not None:
        report.found(f"entry {entry.id} names seal {entry.seal}, which is not there")
        return
    report.waiting += 1
    _check_values(report, entry, lawful)


def _check_values(report: Report, entry: Entry, lawful: Mapping[int, frozenset[str]]) -> None:
    if changed := entry.changed():
        report.found(f"entry {entry.id} was changed: {', '.join(changed)}")
    if entry.erased:
        report.erased += 1
        if more := sorted(entry.erased - lawful.get(entry.id, frozenset())):
            report.found(f"entry {entry.id} was blanked, and no erasure says so: {', '.join(more)}")


def _lawful(erasures: Sequence[Entry]) -> dict[int, frozenset[str]]:
    """Which values of which entries were erased, as the entries of erasures say, which are sealed like any others."""
    found: dict[int, frozenset[str]] = {}
    for erasure in erasures:
        blanked = (erasure.after or {}).get("blanked")
        if not isinstance(blanked, dict):
            continue  # it was changed, and is found to be
        for names, ids in ((OF_OBJECT, blanked.get("object")), (OF_ACTOR, blanked.get("actor"))):
            for each in ids if isinstance(ids, list) else ():
                if isinstance(each, int):
                    found[each] = found.get(each, frozenset()) | frozenset(names)
    return found


def _seals(first: int, last: int) -> str:
    return f"seal {first} is" if first == last else f"seals {first} to {last} are"
