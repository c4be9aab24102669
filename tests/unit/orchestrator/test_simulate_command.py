"""`cogmill simulate`: what it prints, what it writes, and what becomes of both on a full disk."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import cli

FLEET = """\
[pools.main]
family = "cogvideox-2b"

[pools.main.kinds.spot]
workers = 2
price_per_gpu_hour = 0.9
"""
TRAFFIC = """\
hours = 2

[campaigns.night]
tenant = "shop"
rows = 100
at_h = 1
deadline_h = 2
"""


def files_in(tmp_path: Path, traffic: str = TRAFFIC) -> list[str]:
    """Both files, as the command is given them."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "traffic.toml").write_text(traffic)
    return [str(tmp_path / "fleet.toml"), str(tmp_path / "traffic.toml")]


def test_each_pool_that_shares_workers_has_its_line_and_the_set_has_its_swaps() -> None:
    examples = Path(__file__).parents[3] / "deploy/simulations"
    shared = [str(examples / name) for name in ("shared-fleet.toml", "mixed-requests.toml")]
    told = CliRunner().invoke(cli.app, ["simulate", *shared])

    assert told.exit_code == 0, told.output
    assert re.search(r"^pool +rendered +wait p50 s", told.output, re.MULTILINE)
    assert re.search(r"^five-image +[\d,]+ +[\d.,]+", told.output, re.MULTILINE)
    assert re.search(r"^main +8 +[\d,]+ +\d+ +0\.\d+", told.output, re.MULTILINE)


def test_the_command_prints_and_writes_what_came_of_it(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli.app, ["simulate", *files_in(tmp_path), "--out", str(tmp_path / "out")])

    assert told.exit_code == 0, told.output
    assert "night" in told.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plots.svg", "report.json"]


def test_its_tables_say_which_of_them_counts_late_jobs_and_which_late_rows(tmp_path: Path) -> None:
    given = files_in(tmp_path, TRAFFIC.replace("rows = 100", "rows = 5000"))
    told = CliRunner().invoke(cli.app, ["simulate", *given])

    heads = [re.split(r"  +", line) for line in told.stdout.splitlines()]
    priorities = next(words for words in heads if words[0] == "priority")
    campaigns = next(words for words in heads if words[0] == "campaign")
    assert "late" not in priorities
    assert "single jobs late" in priorities
    assert "late rows" in campaigns


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here is always full")
@pytest.mark.parametrize("name", ["report.json", "plots.svg"])
def test_on_a_full_disk_the_report_is_printed_all_the_same_and_the_error_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("of an earlier run")
    (out / f".{name}.partial").symlink_to("/dev/full")
    monkeypatch.setattr(sys, "argv", ["cogmill", "simulate", *files_in(tmp_path), "--out", str(out), "--json"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    told = capsys.readouterr()
    assert ended.value.code == 1
    assert f"{out / name}: No space left on device" in told.err
    assert json.loads(told.out)["campaigns"][0]["name"] == "night"
    assert (out / name).read_text() == "of an earlier run"
    assert not [path for path in out.iterdir() if path.name.endswith(".partial")]


def test_the_command_knows_its_policies(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli.app, ["simulate", *files_in(tmp_path), "--policy", "lottery"])

    assert told.exit_code == 2
    assert "is none of ours, fifo, priority, equal" in told.output
