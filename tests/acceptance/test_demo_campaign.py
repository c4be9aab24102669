"""What `make demo-campaign` shows, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.local.state import State
from tests.support.stack import cogmill

ROWS = 24


@pytest.mark.timeout(400)
def test_the_campaign_demo_loses_a_worker_and_no_row_and_leaves_a_genuine_manifest(
    seeded_data_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    data, out = seeded_data_dir("demo-campaign"), tmp_path / "out"
    done = cogmill("demo-campaign", "--data-dir", data, "--out", out, timeout_s=360)
    assert done.returncode == 0, done.stderr
    assert "24 rows and 2 bad ones" in done.stdout
    assert "line 7 is left out: scene: has no value" in done.stdout
    assert "line 17 is left out: size: " in done.stdout
    assert "kill -9 " in done.stdout
    checked = cogmill("manifest", "verify", out / "manifest.jsonl", "--data-dir", data)
    assert checked.returncode == 0, checked.stderr
    header, *rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert (header["final"], header["rows"], header["counts"]["bad"]) == (True, ROWS, 2)
    assert [row["state"] for row in rows] == ["succeeded"] * ROWS
    assert retried_elsewhere(data, rows)
    with Image.open(out / "contact-sheet.png") as sheet:
        assert (sheet.format, sheet.width > sheet.height) == ("PNG", True)
        assert len(sheet.getcolors(2**20) or ()) > 1000
    assert State.from_json((data / "stack.json").read_text()).parts == {}


def retried_elsewhere(data: Path, rows: list[dict[str, Any]]) -> bool:
    """Whether what was lost on one worker was made on the other one: the dispatcher's log says where."""
    lost, made = {}, {}
    for line in (data / "logs" / "dispatch.log").read_text().splitlines():
        if '"attempt_ended"' in line:
            told = json.loads(line)
            {"lost": lost, "succeeded": made}.get(told["outcome"], {})[told["job"]] = told["worker"]
    again = [row["job"].removeprefix("video_") for row in rows if row["attempts"] > 1]
    return bool(again) and all(lost[job] != made[job] for job in again)
