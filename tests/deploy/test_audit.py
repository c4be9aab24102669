"""`make audit` finds what a service knows, lets pass what is allowed, and does not take silence for safety."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.tools import need_auditor

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "release" / "audit.py"
TODAY = date(2026, 11, 30)
KNOWN = "jinja2==2.4.1"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cogmill_audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


audit = load()


def allowing(**changes: object) -> str:
    """A list with one entry, without the keys that are None."""
    entry: dict[str, object] = {"id": "CVE-1", "package": "Some_Package", "reason": "not reached", "until": TODAY}
    lines = [f"{key} = {json.dumps(it) if isinstance(it, str) else it}" for key, it in (entry | changes).items() if it]
    return "[[allow]]\n" + "\n".join(lines)


def finding(package: str = "some-package", *ids: str) -> Any:
    return audit.Finding(package, "1.0", frozenset(ids or ["CVE-1", "GHSA-1"]), ("1.1",))


class TestTheList:
    def test_an_entry_holds_until_its_day_is_over(self) -> None:
        (entry,), wrong = audit.read_allowances(allowing(), TODAY)

        assert wrong == []
        assert audit.judged([finding()], [entry])[0] == []
        wrong = audit.read_allowances(allowing(), date(2026, 12, 1))[1]
        assert wrong == ["audit-allow.toml: CVE-1 of Some_Package was allowed until 2026-11-30"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (allowing(until=None), "entry 1 lacks until (a date)"),
            (allowing(until="2026-12-01"), "entry 1 lacks until (a date)"),
            (allowing(until="2026-12-01T00:00:00Z"), "entry 1 lacks until (a date)"),
            (allowing(reason=" "), "entry 1 lacks reason"),
            (allowing(until=date(2027, 7, 1)), "is allowed for more than 180 days"),
            ("[[allow", "audit-allow.toml: "),
        ],
    )
    def test_one_that_is_not_dated_and_reasoned_is_refused(self, text: str, told: str) -> None:
        assert any(told in line for line in audit.read_allowances(text, TODAY)[1])

    def test_ours_is_in_order_today(self) -> None:
        """It fails on the day after an entry's last, as `make audit` does."""
        assert audit.read_allowances(audit.ALLOWED.read_text(), date.today())[1] == []

    def test_one_vulnerability_of_one_package_is_allowed_by_any_of_its_names(self) -> None:
        entries, _ = audit.read_allowances(allowing(id="GHSA-1"), TODAY)
        other, unlike = finding("another"), finding("some-package", "CVE-2")

        wrong, told = audit.judged([finding(), other, unlike], entries)

        assert wrong == [f"vulnerable: {other}", f"vulnerable: {unlike}"]
        assert told == [f"allowed until {TODAY}: {finding()} (not reached)"]

    def test_one_that_nothing_needs_any_more_is_named(self) -> None:
        entries, _ = audit.read_allowances(allowing(), TODAY)

        assert audit.judged([], entries) == ([], ["no longer found, to be removed: CVE-1 of some-package"])


def test_all_that_is_pinned_is_asked_about_in_each_version_and_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("# a lock\nPy_Thing==1.0 \\\n    --hash=sha256:00\ntorch==2.0+cpu\n")
    other.write_text("py-thing==1.0\npy.thing==1.1\ntorch==2.0\n")

    pins = audit.pinned([one, other])

    assert pins == ["py-thing==1.0", "py-thing==1.1", "torch==2.0"]
    assert audit.one_each(pins) == [["py-thing==1.0", "torch==2.0"], ["py-thing==1.1"]]


# ---------------------------------------------------------------- with pip-audit itself


@contextmanager
def knowing(vulnerable: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A service like OSV's that knows a vulnerability of each of these `name==version`; its URL, and what is asked."""
    asked: list[str] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            name, version = query["package"]["name"], query["version"]
            asked.append(f"{name}=={version}")
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": []}]
            ids = [vulnerable[each] for each in asked[-1:] if each in vulnerable]
            body = json.dumps({"vulns": [{"id": each, "summary": "bad", "affected": affected} for each in ids]})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
        server.shutdown()


def ran(*words: str) -> tuple[int, list[str]]:
    """How it ended, and what it said."""
    env = {**os.environ, "PYTHONPATH": str(need_auditor())}
    done = subprocess.run([sys.executable, "-B", SCRIPT, *words], env=env, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def test_what_the_service_knows_of_anything_that_we_pin_fails_the_audit() -> None:
    pins = audit.pinned([ROOT / "constraints.txt", *(ROOT / "deploy" / "locks").glob("*.txt")])
    ours = next(each for each in pins if each.startswith("fastapi=="))

    with knowing({KNOWN: "CVE-2014-1402", ours: "CVE-9"}) as (url, asked):
        code, said = ran("--if-reachable", f"--osv-url={url}")

    assert (code, sorted(asked)) == (1, sorted([KNOWN, *pins]))
    name, version = ours.split("==")
    assert f"audit: vulnerable: {name} {version}: CVE-9; no release mends it" in said
    assert f"audit: audited: {len(pins)} pins, 1 vulnerabilities" in said


def test_a_service_that_knows_of_nothing_has_audited_nothing() -> None:
    """As a mirror of packages alone answers, which pip-audit takes for 'No known vulnerabilities found'."""
    with knowing({}) as (url, asked):
        code, said = ran(f"--osv-url={url}")

    assert (code, asked) == (audit.NOT_AUDITED, [KNOWN])
    assert said == [f"audit: not audited: the service that answers knows nothing of {KNOWN}, which is vulnerable"]


def test_a_service_that_is_not_there_fails_nobody_who_allows_that_but_an_expired_entry_does(tmp_path: Path) -> None:
    with knowing({}) as (url, _):
        pass
    (tmp_path / "allowed.toml").write_text(allowing(until=date(2026, 1, 1)))

    code, said = ran("--if-reachable", f"--osv-url={url}", f"--allowed={tmp_path / 'allowed.toml'}")

    assert code == 1
    assert said[0].startswith("audit: not audited: ")
    assert said[1:] == ["audit: audit-allow.toml: CVE-1 of Some_Package was allowed until 2026-01-01"]
