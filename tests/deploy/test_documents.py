"""OPERATIONS.md says what is so: every setting with its default, every alert, every command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.config import LimitSettings, Settings
from tests.support.helm import CHART
from tests.support.promql import panels

ROOT = Path(__file__).parents[2]
# Those at the root, and those beside the code that they are about.
DOCUMENTS = [
    str(path.relative_to(ROOT))
    for places in ("*.md", "api/**/*.md", "deploy/*.md", "orchestrator/**/*.md", "workers/**/*.md", "tests/**/*.md")
    for path in sorted(ROOT.glob(places))
]
OPERATIONS = (ROOT / "OPERATIONS.md").read_text()
SECURITY = (ROOT / "SECURITY.md").read_text()


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key below a section, with its default as the table writes it."""
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        values = get_args(kind)[1] if get_origin(kind) is dict else None
        if isinstance(values, type) and issubclass(values, BaseModel):
            yield from settings_of(values, f"{prefix}{name}.NAME.")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_of(kind, f"{prefix}{name}.")
        elif field.is_required():
            yield f"{prefix}{name}", "required"
        else:
            yield f"{prefix}{name}", written(field.get_default(call_default_factory=True))


def written(default: object) -> str:
    if default is None:
        return "none"
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def test_the_table_of_settings_is_complete_and_has_their_defaults() -> None:
    section = OPERATIONS.split("## Configuration")[1].split("\n## ")[0]
    table = re.findall(r"^\| `([\w.]+)` \| (.+?) \|", section, re.MULTILINE)

    assert table == list(settings_of(Settings))


def values_of(values: dict[str, Any], prefix: str = "chart: ") -> Iterator[tuple[str, str]]:
    """Every value of the chart, with its default as a table writes it."""
    for name, value in values.items():
        yield f"{prefix}{name}", written(value)
        if isinstance(value, dict):
            yield from values_of(value, f"{prefix}{name}.")


def test_the_table_of_safe_defaults_has_them_and_says_how_to_relax_each_and_what_that_costs() -> None:
    section = SECURITY.split("## Defaults, and how to relax them")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    known = dict(settings_of(Settings)) | dict(values_of(yaml.safe_load((CHART / "values.yaml").read_text())))

    assert rows
    assert {name.strip("`"): default for name, default, *_ in rows} == {
        name: known[name] for name in (row[0].strip("`") for row in rows)
    }
    assert len({row[0] for row in rows}) == len(rows)
    assert all(len(row) == 5 and all(cell.strip() for cell in row) for row in rows)


def test_what_is_open_by_default_is_said_to_be() -> None:
    told = SECURITY.split("Open until you close it")[1].split("\n## ")[0]
    named = re.findall(r"`([a-z]+\.[a-z_]+)`", told)

    assert {name: default for name, default in settings_of(Settings) if name in named} == dict.fromkeys(named, "none")
    assert {f"limits.{name}" for name, default in settings_of(LimitSettings) if default == "none"} <= set(named)


def test_every_alert_has_its_entry_where_its_url_leads() -> None:
    files = (yaml.safe_load((CHART / "files" / name).read_text()) for name in ("alerts.yaml", "slos.yaml"))
    alerts = [rule for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule]

    entries = re.findall(r"^#### (Cogmill\w+)\n((?:(?!#).+\n|\n)+)", OPERATIONS, re.MULTILINE)

    assert [name for name, _ in entries] == [rule["alert"] for rule in alerts]
    for name, entry in entries:
        assert re.fullmatch(r"\n- \*\*Means\*\* .+\n- \*\*Look\*\* .+\n- \*\*Do\*\* .+", entry, re.DOTALL), name
    # GitHub's and GitLab's anchor of a heading of one word is that word in small letters.
    assert all(rule["annotations"]["runbook_url"] == f"OPERATIONS.md#{rule['alert'].lower()}" for rule in alerts)


def test_an_entry_names_panels_that_there_are() -> None:
    titles = {title for title, _ in panels()}
    told = " ".join(OPERATIONS.split("### What each alert means")[1].split())
    named = re.findall(r"(?<!\*)\*([A-Z][^*:]*): ([^*]+)\*(?!\*)", told)

    assert named
    assert {f"Cogmill / {board}: {panel}" for board, panel in named} <= titles


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_file_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    for command in set(re.findall(r"(?<![\w./])cogmill ((?:keys |model )?[a-z]+)(?= |`|$)", text, re.MULTILINE)):
        shown = CliRunner().invoke(cli.app, [*command.split(), "--help"])
        assert shown.exit_code == 0, f"cogmill {command}"
    for path in set(re.findall(r"`((?:orchestrator|workers|api|deploy|helm|tests)/[\w./-]+)`", text)):
        assert (ROOT / path).exists(), path
    for link in set(re.findall(r"\]\((?!https?:|#)([^)#]+)", text)):
        assert ((ROOT / document).parent / link).exists(), link


def test_every_decision_has_its_date_its_alternative_and_what_follows_and_is_on_the_map() -> None:
    found = [path for package in ("api", "orchestrator", "workers") for path in (ROOT / package).rglob("DECISIONS.md")]
    assert found
    for path in found:
        assert f"({path.relative_to(ROOT)})" in (ROOT / "ARCHITECTURE.md").read_text()
        for record in path.read_text().split("\n## ")[1:]:
            assert re.match(r"20\d\d-\d\d-\d\d: \S", record), record.splitlines()[0]
            assert "\n**Instead of** " in record, record.splitlines()[0]
            assert "\n**So** " in record, record.splitlines()[0]
