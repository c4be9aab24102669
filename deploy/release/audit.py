"""`make audit`: asks pip-audit about every version that we pin, and reads its answer strictly.

Ends with 0 when all were looked up and what was found is allowed by deploy/audit-allow.toml; with 1 when something is
not; with 3 when the service could not be asked. What a mirror answers with 404, pip-audit itself skips, and says "No
known vulnerabilities found": so it is asked first about a version that is known to be vulnerable. PYTHONPATH names the
folder that has it.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = ROOT / "deploy/audit-allow.toml"
NOT_AUDITED = 3
# Vulnerable since 2014 (CVE-2014-1402): who does not say so knows of no vulnerability.
KNOWN = "jinja2==2.4.1"
LONGEST = timedelta(days=180)
PATIENCE_S = 600


class NotAudited(Exception):
    """The service could not be asked; the message says how that was seen."""


@dataclass(frozen=True)
class Allowance:
    """One vulnerability of one package that may be there until a day."""

    id: str
    package: str
    reason: str
    until: date


@dataclass(frozen=True)
class Finding:
    """One vulnerability that the service knows of a version that we pin."""

    package: str
    version: str
    ids: frozenset[str]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no release mends it"
        return f"{self.package} {self.version}: {', '.join(sorted(self.ids))}; {mended}"


def normal(name: str) -> str:
    """A package's name as the index writes it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(files: Iterable[Path]) -> list[str]:
    """`name==version` of everything that these files pin, once each; a build's local version (`+cpu`) is left off."""
    found = set()
    for path in files:
        for name, version in re.findall(r"^([\w.-]+)==([^\s;+]+)", path.read_text(), re.MULTILINE):
            found.add(f"{normal(name)}=={version}")
    return sorted(found)


def one_each(pins: Sequence[str]) -> list[list[str]]:
    """The same in lists that have no name twice, as pip-audit wants them."""
    lists: list[dict[str, str]] = []
    for pin in pins:
        name = pin.partition("==")[0]
        place = next((each for each in lists if name not in each), None)
        if place is None:
            lists.append(place := {})
        place[name] = pin
    return [list(each.values()) for each in lists]


def read_allowances(text: str, today: date) -> tuple[list[Allowance], list[str]]:
    """The entries of the list, and what is wrong with it."""
    entries: list[Allowance] = []
    wrong = []
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [], [f"{ALLOWED.name}: {error}"]
    for number, each in enumerate(document.get("allow", []), 1):
        lacks = [key for key in ("id", "package", "reason") if not str(each.get(key, "")).strip()]
        until = each.get("until")
        if type(until) is not date:
            lacks.append("until (a date)")
        if lacks or type(until) is not date:
            wrong.append(f"{ALLOWED.name}: entry {number} lacks {', '.join(lacks)}")
            continue
        if until < today:
            wrong.append(f"{ALLOWED.name}: {each['id']} of {each['package']} was allowed until {until}")
        elif until > today + LONGEST:
            wrong.append(
                f"{ALLOWED.name}: {each['id']} of {each['package']} is allowed for more than {LONGEST.days} days"
            )
        entries.append(Allowance(each["id"], normal(each["package"]), each["reason"], until))
    return entries, wrong


def findings(answer: dict[str, Any]) -> tuple[list[Finding], list[str]]:
    """What pip-audit found, and what it did not look up."""
    found = []
    for each in answer["dependencies"]:
        for vuln in each.get("vulns", ()):
            ids = frozenset([vuln["id"], *vuln.get("aliases", ())])
            found.append(Finding(normal(each["name"]), each["version"], ids, tuple(vuln.get("fix_versions", ()))))
    return found, [each["name"] for each in answer["dependencies"] if "skip_reason" in each]


def judged(found: Iterable[Finding], allowances: Sequence[Allowance]) -> tuple[list[str], list[str]]:
    """What is wrong, and what is only worth telling."""
    wrong, told, used = [], [], set()
    for finding in found:
        entry = next((it for it in allowances if it.package == finding.package and it.id in finding.ids), None)
        if entry is None:
            wrong.append(f"vulnerable: {finding}")
        else:
            used.add(entry)
            told.append(f"allowed until {entry.until}: {finding} ({entry.reason})")
    told += [f"no longer found, to be removed: {it.id} of {it.package}" for it in allowances if it not in used]
    return wrong, told


def ask(pins: Sequence[str], service: Sequence[str]) -> dict[str, Any]:
    """pip-audit's answer about these. Raises `NotAudited`."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("".join(f"{pin}\n" for pin in pins))
        listed.flush()
        command = [sys.executable, "-m", "pip_audit", "--format=json", "--no-deps", "--disable-pip"]
        command += ["--progress-spinner=off", "--timeout=10", f"--requirement={listed.name}", *service]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise NotAudited(f"no answer within {PATIENCE_S} s") from None
    # It ends with 1 both when it found something and when it broke; only in the first case there is an answer.
    if not done.stdout.lstrip().startswith("{"):
        raise NotAudited((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def ask_all(pins: Sequence[str], service: Sequence[str]) -> tuple[list[Finding], list[str]]:
    """What was found in all of them, and what was not looked up. Raises `NotAudited`."""
    if not findings(ask([KNOWN], service))[0]:
        raise NotAudited(f"the service that answers knows nothing of {KNOWN}, which is vulnerable")
    found, skipped = [], []
    for each in one_each(pins):
        more, passed = findings(ask(each, service))
        found += more
        skipped += passed
    return found, skipped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--if-reachable", action="store_true", help="end with 0 where the service cannot be asked")
    parser.add_argument("--osv-url", help="ask this service, as api.osv.dev answers, and not PyPI")
    parser.add_argument("--allowed", type=Path, default=ALLOWED, help="the list of what is allowed")
    parser.add_argument("pins", type=Path, nargs="*", help="files with name==version (constraints.txt, deploy/locks/)")
    arguments = parser.parse_args()
    pins = pinned(arguments.pins or [ROOT / "constraints.txt", *(ROOT / "deploy/locks").glob("*.txt")])
    service = ["--vulnerability-service=osv", f"--osv-url={arguments.osv_url}"] if arguments.osv_url else []
    allowances, wrong = read_allowances(arguments.allowed.read_text(), datetime.now(UTC).date())
    told: list[str] = []
    ended = 0
    try:
        found, skipped = ask_all(pins, service)
        bad, told = judged(found, allowances)
        wrong += bad + [f"the service does not know {name}" for name in skipped]
        told.append(f"audited: {len(pins)} pins, {len(found)} vulnerabilities")
    except NotAudited as error:
        told.append(f"not audited: {error}")
        ended = 0 if arguments.if_reachable else NOT_AUDITED
    for line in [*told, *wrong]:
        sys.stderr.write(f"audit: {line}\n")
    return 1 if wrong else ended


if __name__ == "__main__":
    raise SystemExit(main())
