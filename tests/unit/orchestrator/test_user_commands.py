"""The command line for users: what it asks the API for, what it prints, and what it tells a script."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator import cli
from orchestrator.commands import connection
from orchestrator.local import layout
from orchestrator.local.state import State
from tests.support.cogmill_client import COUNTS, campaign, error, page, stream, video

DATA = b"an MP4"
SHA256 = hashlib.sha256(DATA).hexdigest()
DONE = video(status="completed", progress=100)
FAILED = video(status="failed", error={"code": "nan_frames", "message": "not a number"})


@dataclass
class Cogmill:
    """Runs `cogmill` against an API made of `routes`: (method, path) to an answer, or to what makes one."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    routes: dict[tuple[str, str], Any] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, *arguments: str | Path, given: bytes = b"") -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self.monkeypatch.setattr(sys, "argv", ["cogmill", *map(str, arguments)])
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = self.capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    def bodies(self, method: str = "POST") -> list[Any]:
        return [json.loads(each.content or "null") for each in self.asked if each.method == method]

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.routes.get((request.method, request.url.path), error(404, "not_found"))
        if callable(answer):
            answer = answer(request)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


@pytest.fixture
def cogmill(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cogmill:
    made = Cogmill(capsys, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("COGMILL_PROFILE", raising=False)
    monkeypatch.setenv("COGMILL_API", "http://api.test")
    monkeypatch.setenv("COGMILL_KEY", "the-key")
    monkeypatch.setattr(connection, "http_client", lambda: httpx.Client(transport=httpx.MockTransport(made.handle)))
    return made


def content(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=DATA, headers={"etag": f'"{SHA256}"'})


def one_after_another(*answers: Any) -> Callable[[httpx.Request], Any]:
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


class TestSubmit:
    def test_a_prompt_becomes_a_video_whose_id_is_printed(self, cogmill: Cogmill) -> None:
        cogmill.routes["POST", "/v1/videos"] = video()
        options = ["--model", "m", "--size", "96x64", "--seconds", "4", "--seed", "7", "--profile", "draft"]
        more = ["--set", "priority=5", "--set", 'metadata={"a": "b"}', "--set", "adapter=ink"]
        assert cogmill("submit", "a mill", *options, *more) == (0, "video_1\n", "")
        assert cogmill.bodies() == [
            {
                "prompt": "a mill", "model": "m", "size": "96x64", "seconds": 4.0, "seed": 7, "profile": "draft",
                "priority": 5, "metadata": {"a": "b"}, "adapter": "ink",
            }
        ]  # fmt: skip
        code, out, _ = cogmill("submit", "a mill", "--json")
        assert (code, json.loads(out)["id"]) == (0, "video_1")

    def test_it_waits_and_saves_and_says_by_its_code_how_it_went(self, cogmill: Cogmill, tmp_path: Path) -> None:
        cogmill.routes |= {
            ("POST", "/v1/videos"): video(),
            ("GET", "/v1/videos/video_1"): one_after_another(video(), DONE),
            ("GET", "/v1/videos/video_1/events"): lambda request: stream(("1", "end", DONE)),
            ("GET", "/v1/videos/video_1/content"): content,
        }
        assert cogmill("submit", "a mill", "--out", tmp_path / "mill.mp4")[:2] == (0, "video_1\n")
        assert (tmp_path / "mill.mp4").read_bytes() == DATA
        cogmill.routes["GET", "/v1/videos/video_1"] = FAILED
        assert cogmill("submit", "a mill", "--wait") == (
            3, "video_1\n", "cogmill: video_1: nan_frames: not a number\n",
        )  # fmt: skip
        cogmill.routes["GET", "/v1/videos/video_1"] = video()
        code, _, err = cogmill("submit", "a mill", "--wait", "--timeout", "0.01")
        assert (code, err) == (4, "cogmill: video_1 has not ended within 0.01 s: it is queued\n")

    def test_a_file_makes_a_video_of_each_line_or_none_at_all(self, cogmill: Cogmill, tmp_path: Path) -> None:
        cogmill.routes["POST", "/v1/videos"] = one_after_another(video(id="a"), video(id="b"))
        file = tmp_path / "prompts.jsonl"
        file.write_text('"a mill"\n\n{"prompt": "a wheel", "seed": 9}\n')
        assert cogmill("submit", "--file", file, "--seed", "7") == (0, "a\nb\n", "")
        assert cogmill.bodies() == [{"prompt": "a mill", "seed": 7}, {"prompt": "a wheel", "seed": 9}]
        for wrong, why in (("{", "no JSON"), ("{}", "prompt"), ("3", "prompt")):
            file.write_text(f'"a mill"\n{wrong}\n')
            code, out, err = cogmill("submit", "--file", file)
            assert (code, out) == (1, "")
            assert err.startswith(f"cogmill: {file}, line 2: {why}")
        assert len(cogmill.asked) == 2

    def test_what_was_made_before_a_refusal_is_printed(self, cogmill: Cogmill, tmp_path: Path) -> None:
        cogmill.routes["POST", "/v1/videos"] = one_after_another(video(id="a"), error(400, "x", "seed"))
        file = tmp_path / "prompts.jsonl"
        file.write_text('"a mill"\n"a wheel"\n')
        code, out, err = cogmill("submit", "--file", file, "--json")
        assert (code, [each["id"] for each in json.loads(out)], err) == (1, ["a"], "cogmill: seed: wrong\n")

    def test_a_picture_is_a_path_or_a_url(self, cogmill: Cogmill, tmp_path: Path) -> None:
        cogmill.routes["POST", "/v1/videos"] = video()
        (tmp_path / "a.png").write_bytes(b"png")
        for image in (str(tmp_path / "a.png"), "https://e.org/a.png", "file-1"):
            assert cogmill("submit", "go", "--image", image)[0] == 0
        assert [body["input_reference"] for body in cogmill.bodies()] == [
            {"image_url": "data:application/octet-stream;base64,cG5n"},
            {"image_url": "https://e.org/a.png"},
            {"file_id": "file-1"},
        ]
        code, _, err = cogmill("submit", "go", "--image", "nowhere.png")
        assert (code, err) == (2, "cogmill: image: there is no file 'nowhere.png'\n")

    @pytest.mark.parametrize("arguments", [[], ["a", "--file", "b"], ["a", "--set", "b"]])
    def test_what_cannot_be_meant_is_code_2(self, cogmill: Cogmill, arguments: list[str]) -> None:
        assert cogmill("submit", *arguments)[0] == 2
        assert cogmill.asked == []


class TestJobs:
    def test_videos_are_listed_shown_and_called_off(self, cogmill: Cogmill) -> None:
        cogmill.routes |= {
            ("GET", "/v1/videos"): lambda request: page(video(prompt="a\x1b[31m mill"), DONE),
            ("GET", "/v1/videos/video_1"): video(),
            ("POST", "/v1/videos/video_1/cancel"): FAILED,
            ("POST", "/v1/videos/video_1/retry"): video(id="video_2"),
        }
        code, out, _ = cogmill("jobs", "list", "--limit", "2")
        head, first, second = out.splitlines()
        assert (code, head.split()[:3], first.split()[:2], second.split()[1]) == (
            0, ["id", "status", "%"], ["video_1", "queued"], "completed",
        )  # fmt: skip
        assert "\x1b" not in out
        assert "seed" in cogmill("jobs", "show", "video_1")[1]
        day = 24 * 3600
        soon = {"low_at": 60, "likely_at": 120, "high_at": None}
        told = {"starts": soon, "ends": soon | {"high_at": day}, "made_at": 1, "reason": None}
        cogmill.routes["GET", "/v1/videos/video_1"] = video(forecast=told)
        shown = cogmill("jobs", "show", "video_1")[1]
        assert "starts about           1970-01-01 00:02 UTC (1970-01-01 00:01 to never)" in shown
        assert "ends about             1970-01-01 00:02 UTC (1970-01-01 00:01 to 1970-01-02 00:00)" in shown
        told["starts"] = dict.fromkeys(soon)
        cogmill.routes["GET", "/v1/videos/video_1"] = video(forecast=told | {"reason": "pool main has no worker"})
        assert "starts about           never: pool main has no worker" in cogmill("jobs", "show", "video_1")[1]
        assert json.loads(cogmill("jobs", "show", "video_1", "--json")[1])["seed"] == 7
        assert cogmill("jobs", "cancel", "video_1")[:2] == (0, "video_1  failed\n")
        assert cogmill("jobs", "retry", "video_1")[:2] == (0, "video_2  queued\n")
        assert cogmill("jobs", "show", "video_9")[::2] == (1, "cogmill: None: wrong\n")

    def test_a_video_is_downloaded_under_its_id_and_watched_as_json_lines(
        self, cogmill: Cogmill, tmp_path: Path
    ) -> None:
        step = ("1", "step", {"step": 1, "steps": 2, "progress": 50})
        cogmill.routes |= {
            ("GET", "/v1/videos/video_1/content"): content,
            ("GET", "/v1/videos/video_1"): one_after_another(video(), video(), FAILED),
            ("GET", "/v1/videos/video_1/events"): lambda request: stream(step, ("2", "end", FAILED)),
        }
        assert cogmill("jobs", "download", "video_1")[:2] == (0, "video_1.mp4\n")
        assert (tmp_path / "video_1.mp4").read_bytes() == DATA
        code, out, _ = cogmill("jobs", "watch", "video_1", "--json")
        assert (code, [json.loads(line)["kind"] for line in out.splitlines()]) == (3, ["step", "end"])


CAMPAIGN = "/v1/campaigns/campaign_1"


class TestCampaigns:
    def test_a_file_and_a_template_become_a_campaign(self, cogmill: Cogmill, tmp_path: Path) -> None:
        rows = tmp_path / "rows.csv"
        rows.write_text("product\nmug\n")
        cogmill.routes |= {
            ("POST", "/v1/campaigns"): campaign(state="draft"),
            ("PUT", f"{CAMPAIGN}/input"): campaign(state="ingesting"),
        }
        options = {
            "--prompt": "a {product}", "--default": "size=96x64", "--sample": "4", "--variants": "2",
            "--budget-gpu-seconds": "100", "--budget-action": "80=tell", "--deadline": "2026-12-01T06:00:00Z",
            "--run-at": "1764000000", "--cron": "0 18 * * *", "--time-zone": "Europe/Berlin", "--max-running": "3",
            "--order": "spread", "--name": "mugs", "--metadata": "team=a",
        }  # fmt: skip
        words = [word for pair in options.items() for word in pair]
        code, out, err = cogmill("campaign", "create", rows, *words, "--default", "seed=7", "--strict", "--no-approval")
        assert (code, out, err) == (0, "campaign_1  ingesting\n", "")
        assert cogmill.bodies() == [
            {
                "prompt": "a {product}", "name": "mugs", "defaults": {"size": "96x64", "seed": 7}, "variants": 2,
                "sample": 4, "order": "spread", "strict": True, "approval": "none", "max_running": 3,
                "budget": {"amount": 100.0, "unit": "gpu_seconds", "actions": [{"percent": 80, "do": "tell"}]},
                "metadata": {"team": "a"}, "run_at": 1764000000, "deadline": "2026-12-01T06:00:00Z",
                "schedule": {"cron": "0 18 * * *", "time_zone": "Europe/Berlin"},
            }
        ]  # fmt: skip
        assert cogmill.asked[-1].content == b"product\nmug\n"

    def test_rows_come_from_elsewhere_from_stdin_later_or_from_a_manifest(
        self, cogmill: Cogmill, tmp_path: Path
    ) -> None:
        file = {
            "id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "m.jsonl",
            "purpose": "user_data", "status": "processed", "expires_at": None,
        }  # fmt: skip
        cogmill.routes |= {
            ("POST", "/v1/campaigns"): campaign(state="draft"),
            ("PUT", f"{CAMPAIGN}/input"): campaign(state="ingesting"),
            ("POST", "/v1/files"): file,
        }
        assert cogmill("campaign", "create", "s3://b/rows.csv", "--prompt", "x")[0] == 0
        assert cogmill.bodies()[-1] == {"prompt": "x", "input": "s3://b/rows.csv"}
        assert cogmill("campaign", "create", "-", "--format", "jsonl", "--prompt", "x", given=b"{}\n")[0] == 0
        assert cogmill.asked[-1].content == b"{}\n"
        assert cogmill("campaign", "create", "--draft", "--prompt", "x")[1] == "campaign_1  draft\n"
        (tmp_path / "m.jsonl").write_text("{}\n")
        assert cogmill("campaign", "upload", "campaign_1", "m.jsonl")[1] == "campaign_1  ingesting\n"
        assert cogmill("campaign", "create", "--like", "m.jsonl")[0] == 0
        assert json.loads(cogmill.asked[-1].content) == {"like": "file-1"}

    def test_a_clone_takes_the_rows_of_a_file_in_place_of_its_own(self, cogmill: Cogmill, tmp_path: Path) -> None:
        file = {
            "id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "new.csv",
            "purpose": "campaign", "status": "processed", "expires_at": None,
        }  # fmt: skip
        cogmill.routes |= {("POST", "/v1/campaigns"): campaign(state="ingesting"), ("POST", "/v1/files"): file}
        rows = b"product\nmug\n"
        (tmp_path / "new.csv").write_bytes(rows)
        for name in ("new.csv", "-"):
            options = ("--clone-of", "campaign_0", "--format", "csv")
            code, out, err = cogmill("campaign", "create", name, *options, given=rows)
            assert (code, out, err) == (0, "campaign_1  ingesting\n", "")
            sent, made = cogmill.asked[-2:]
            assert (sent.url.path, rows in sent.content, b"campaign" in sent.content) == ("/v1/files", True, True)
            assert json.loads(made.content) == {"clone_of": "campaign_0", "input": "file-1", "format": "csv"}
        assert len(cogmill.asked) == 4
        assert cogmill("campaign", "create", "s3://b/rows.csv", "--clone-of", "campaign_0")[0] == 0
        assert json.loads(cogmill.asked[-1].content) == {"clone_of": "campaign_0", "input": "s3://b/rows.csv"}

    def test_an_upload_that_fails_says_what_is_left(self, cogmill: Cogmill, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("")
        cogmill.routes["POST", "/v1/campaigns"] = campaign(state="draft")
        cogmill.routes["PUT", f"{CAMPAIGN}/input"] = error(400, "x", "input")
        code, _, err = cogmill("campaign", "create", "rows.csv", "--prompt", "x")
        assert code == 1
        assert err == (
            "cogmill: campaign_1 is left as a draft: `cogmill campaign upload` sends its rows\ncogmill: input: wrong\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ([], "FILE"),
            (["gone.csv"], "FILE"),
            (["gone.csv", "--draft"], "FILE"),
            (["s3://b/k", "--budget-money", "1", "--budget-gpu-seconds", "1"], "--budget-money"),
            (["s3://b/k", "--budget-action", "80=tell"], "--budget-action"),
            (["s3://b/k", "--budget-gpu-seconds", "inf"], "--budget-gpu-seconds"),
            (["s3://b/k", "--budget-money", "nan"], "--budget-money"),
            (["s3://b/k", "--budget-money", "1", "--budget-action", "x=tell"], "--budget-action"),
            (["s3://b/k", "--time-zone", "UTC"], "--time-zone"),
            (["s3://b/k", "--default", "size"], "--default"),
            (["s3://b/k", "--order", "random"], "--order"),
            (["--draft", "--clone-of", "campaign_1"], "--draft"),
            (["--draft", "--like", "gone.jsonl"], "--draft"),
            (["gone.csv", "--like", "gone.jsonl"], "--like"),
            (["s3://b/k", "--like", "gone.jsonl"], "--like"),
            (["--clone-of", "campaign_1", "--like", "gone.jsonl"], "--like"),
            (["gone.csv", "--clone-of", "campaign_1"], "FILE"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_by_name(self, cogmill: Cogmill, arguments: list[str], named: str) -> None:
        code, _, err = cogmill("campaign", "create", "--prompt", "x", *arguments)
        assert (code, named in err) == (2, True)
        assert cogmill.asked == []

    @pytest.mark.parametrize(
        ("stands", "code"),
        [
            (campaign(state="completed"), 0),
            (campaign(state="completed", counts=COUNTS | {"rows": 2, "failed": 1}), 3),
            (campaign(state="cancelled"), 3),
            (campaign(state="failed", error={"code": "bad_input", "message": "no rows"}), 3),
            (campaign(state="awaiting_approval", plan_token="t"), 5),
            (campaign(state="paused", pause_reasons=["revision"]), 5),
        ],
    )
    def test_watching_ends_with_a_code_that_says_how(self, cogmill: Cogmill, stands: dict[str, Any], code: int) -> None:
        cogmill.routes["GET", CAMPAIGN] = one_after_another(campaign(), stands)
        counts = ("1", "counts", {"counts": COUNTS, "rows_per_hour": 3.0, "forecast": None})
        cogmill.routes["GET", f"{CAMPAIGN}/events"] = lambda request: stream(
            counts, ("2", "state", {"state": stands["state"]})
        )
        ended, out, _ = cogmill("campaign", "watch", "campaign_1", "--json")
        assert (ended, [json.loads(line)["kind"] for line in out.splitlines()]) == (code, ["counts", "state"])

    def test_watching_no_longer_than_told_is_code_4(self, cogmill: Cogmill) -> None:
        cogmill.routes["GET", CAMPAIGN] = campaign()
        code, _, err = cogmill("campaign", "watch", "campaign_1", "--timeout", "0.01")
        assert code == 4
        assert err.splitlines()[-1].startswith("cogmill: campaign_1 has not ended")

    def test_a_plan_is_shown_and_approved_by_its_token_or_in_any_case(self, cogmill: Cogmill) -> None:
        plan = {
            "object": "campaign.plan", "campaign": "campaign_1", "plan_token": "t1", "rows": 1000, "bad_rows": 2,
            "gpu_seconds": {"low": 1.0, "likely": 2000.0, "high": 3.0}, "money": None,
            "hours": {"present": 1.5, "largest": None}, "workers": {"present": 2, "largest": 9},
            "deadline_holds": False, "pools": [{"pool": "p", "model": "m", "rows": 1000, "gpu_seconds": 2.0}],
        }  # fmt: skip
        cogmill.routes |= {("POST", f"{CAMPAIGN}/plan"): plan, ("POST", f"{CAMPAIGN}/approve"): campaign()}
        _, out, _ = cogmill("campaign", "plan", "campaign_1")
        assert "1,000 (2 bad ones are left out)" in out
        assert "does not hold" in out
        assert cogmill("campaign", "approve", "campaign_1")[0] == 2, "nobody looked at it"
        assert cogmill("campaign", "approve", "campaign_1", "--token", "t0")[0] == 0
        assert cogmill("campaign", "approve", "campaign_1", "--yes")[0] == 0
        approvals = [each for each in cogmill.asked if each.url.path.endswith("approve")]
        assert [json.loads(each.content) for each in approvals] == [{"plan_token": "t0"}, {"plan_token": "t1"}]
        cogmill.routes["POST", f"{CAMPAIGN}/approve"] = error(409, "plan_changed", "plan_token")
        assert cogmill("campaign", "approve", "campaign_1", "--token", "t0")[::2] == (
            1, "cogmill: plan_token: wrong\n",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "body"),
        [
            (["reject", "campaign_1", "a", "b", "--drop"], {"rows": ["a", "b"], "do": "drop"}),
            (["reject", "campaign_1", "a"], {"rows": ["a"], "do": "new_seed"}),
            (["pause", "campaign_1", "--reason", "lunch"], {"reason": "lunch"}),
            (["resume", "campaign_1"], {}),
            (["cancel", "campaign_1"], {}),
            (["retry", "campaign_1"], {}),
            (["retry", "campaign_1", "a", "--code", "x"], {"rows": ["a"], "code": "x"}),
            (["waive", "campaign_1", "--code", "x"], {"code": "x"}),
            (["promote", "campaign_1", "--profile", "fast"], {"profile": "fast"}),
        ],
    )
    def test_each_verb_says_what_it_means(self, cogmill: Cogmill, arguments: list[str], body: Any) -> None:
        cogmill.routes["POST", f"{CAMPAIGN}/{arguments[0]}"] = campaign()
        code, out, _ = cogmill("campaign", *arguments)
        assert (code, "running" in out, cogmill.bodies()) == (0, True, [body])

    def test_rows_and_errors_are_listed(self, cogmill: Cogmill) -> None:
        row = {
            "object": "campaign.row", "custom_id": "mug", "line": 1, "place": 0, "state": "failed", "video_id": None,
            "variables": {}, "parameters": {}, "prompt": None, "seed": 7, "template_version": 1, "attempts": 2,
            "gpu_seconds": 1.5, "error": {"code": "nan_frames", "message": "no"}, "flags": [], "result": None,
        }  # fmt: skip
        bad = {"line": 3, "custom_id": None, "field": "product", "code": "missing", "reason": "is missing"}
        cogmill.routes |= {
            ("GET", f"{CAMPAIGN}/rows"): lambda request: page(row, row),
            ("GET", f"{CAMPAIGN}/errors"): lambda request: httpx.Response(200, content=json.dumps(bad)),
        }
        assert "nan_frames: no" in cogmill("campaign", "rows", "campaign_1", "--state", "failed")[1]
        filters = ["--var", "product=mug", "--reason", "nan_frames"]
        assert len(json.loads(cogmill("campaign", "rows", "campaign_1", "--json", *filters)[1])) == 2
        assert cogmill.asked[-1].url.params["var"] == "product:mug"
        assert cogmill("campaign", "errors", "campaign_1")[1] == "line 3: product: is missing [missing]\n"
        assert cogmill("campaign", "errors", "campaign_1", "--csv")[1].splitlines() == [
            "line,custom_id,field,code,reason", "3,,product,missing,is missing",
        ]  # fmt: skip
        assert json.loads(cogmill("campaign", "errors", "campaign_1", "--json")[1]) == [bad]

    def test_no_cell_of_the_errors_runs_in_a_spreadsheet(self, cogmill: Cogmill) -> None:
        bad = {"line": 3, "custom_id": "=1+1", "field": "@x", "code": "missing", "reason": '+cmd|" /C calc"'}
        cogmill.routes["GET", f"{CAMPAIGN}/errors"] = httpx.Response(200, content=json.dumps(bad))
        assert cogmill("campaign", "errors", "campaign_1", "--csv")[1].splitlines()[1:] == [
            """3,'=1+1,'@x,missing,"'+cmd|"" /C calc""\""""
        ]

    def test_a_manifest_is_saved_with_the_signature_of_its_own_revision(self, cogmill: Cogmill, tmp_path: Path) -> None:
        def signed(text: str) -> dict[str, Any]:
            return {
                "object": "campaign.manifest_signature", "campaign": "campaign_1", "revision": 1, "final": True,
                "rows": 0,
                "sha256": hashlib.sha256(text.encode()).hexdigest(), "algorithm": "Ed25519", "key_id": "k",
                "signature": "s",
            }  # fmt: skip

        fresh = lambda text: lambda request: httpx.Response(200, text=text)  # noqa: E731
        cogmill.routes |= {
            ("GET", f"{CAMPAIGN}/manifest"): one_after_another(fresh("old")(None), fresh("new")(None)),
            ("GET", f"{CAMPAIGN}/manifest/signature"): one_after_another(signed("new"), signed("new")),
        }
        code, out, _ = cogmill("campaign", "manifest", "campaign_1", "--out", "m.jsonl")
        assert (code, out) == (0, "m.jsonl\nm.sig.json\n")
        assert (tmp_path / "m.jsonl").read_text() == "new"
        assert json.loads((tmp_path / "m.sig.json").read_text()) == signed("new")
        cogmill.routes["GET", f"{CAMPAIGN}/manifest"] = fresh("csv")
        assert cogmill("campaign", "manifest", "campaign_1", "--out", "m.csv", "--csv")[1] == "m.csv\n"

    def test_all_videos_are_downloaded_and_the_code_says_whether(self, cogmill: Cogmill, tmp_path: Path) -> None:
        link = {"url": "http://s3.test/v", "sha256": SHA256, "size": len(DATA), "expires_at": 1}
        lines = "\n".join(json.dumps({"custom_id": name, **link}) for name in ("a", "b"))
        cogmill.routes |= {
            ("GET", CAMPAIGN): campaign(state="completed"),
            ("GET", f"{CAMPAIGN}/manifest"): lambda request: httpx.Response(200, text=lines),
            ("GET", "/v"): content,
        }
        assert cogmill("campaign", "download", "campaign_1")[:2] == (
            0, "campaign_1: 2 saved, 0 were there, 0 failed\n",
        )  # fmt: skip
        assert sorted(path.name for path in (tmp_path / "campaign_1").iterdir()) == ["a.mp4", "b.mp4"]
        assert cogmill("campaign", "download", "campaign_1", "--out", ".")[:2] == (
            0, ".: 2 saved, 0 were there, 0 failed\n",
        )  # fmt: skip
        assert (tmp_path / "a.mp4").read_bytes() == DATA
        cogmill.routes["GET", "/v"] = lambda request: httpx.Response(200, content=b"other")
        code, out, _ = cogmill("campaign", "download", "campaign_1", "--out", "there", "--json")
        assert (code, sorted(json.loads(out)["failed"])) == (3, ["a", "b"])

    def test_campaigns_are_listed_and_shown(self, cogmill: Cogmill) -> None:
        cogmill.routes |= {
            ("GET", "/v1/campaigns"): lambda request: page(campaign(state="paused", pause_reasons=["budget", "owner"])),
            ("GET", CAMPAIGN): campaign(waiting_for="place 3 of 9 in the queue"),
        }
        assert "paused (budget, owner)" in cogmill("campaign", "list", "--state", "paused")[1]
        assert cogmill.asked[-1].url.params["state"] == "paused"
        assert "running: place 3 of 9" in cogmill("campaign", "show", "campaign_1")[1]
        assert json.loads(cogmill("campaign", "show", "campaign_1", "--json")[1])["id"] == "campaign_1"


def test_use_is_a_table_csv_or_json(cogmill: Cogmill) -> None:
    sums = {"attempts": 1200, "gpu_seconds": 2.5, "wasted_gpu_seconds": 0.0, "money": None}
    line = {
        "object": "usage.line", "hour": None, "tenant": None, "campaign": None, "model": "m", "pool": None,
        "outcome": None,
    }  # fmt: skip
    used = {
        "object": "usage", "since": 1, "until": 2, "by": ["model"], "tenant": "acme", "currency": "USD",
        "data": [{**sums, **line}], "total": sums,
        "waste": dict.fromkeys(("cancelled", "failed", "lost", "evicted", "released"), 0.0),
    }  # fmt: skip

    def answer(request: httpx.Request) -> Any:
        return httpx.Response(200, text="model,attempts\r\n") if request.url.params.get("format") else used

    cogmill.routes["GET", "/v1/usage"] = answer
    out = cogmill("usage", "--from", "2026-11-01", "--by", "model,hour", "--by", "pool")[1]
    assert [row.split() for row in out.splitlines()[1:]] == [
        ["m", "1200", "2.5", "0", "-"], ["total", "1200", "2.5", "0", "-"],
    ]  # fmt: skip
    assert dict(cogmill.asked[-1].url.params) == {"from": "2026-11-01", "by": "model,hour,pool"}
    assert json.loads(cogmill("usage", "--json")[1])["total"]["attempts"] == 1200
    assert cogmill("usage", "--csv")[1] == "model,attempts\r\n"
    assert cogmill("usage", "--csv", "--json")[0] == 2


def test_workers_hours_are_a_table_or_json(cogmill: Cogmill) -> None:
    spent = {
        "busy_s": 45.0, "idle_s": 10.0, "loading_s": 5.0, "broken_s": 0.0, "utilisation": 0.75, "money": 1.5,
        "unused_money": None,
    }  # fmt: skip
    cogmill.routes["GET", "/v1/usage/workers"] = {
        "object": "usage.workers", "since": 1, "until": 2, "by": ["pool"], "currency": "EUR", "total": spent,
        "data": [{**spent, "object": "usage.workers.line", "hour": None, "pool": "p", "kind": None}],
    }  # fmt: skip
    out = cogmill("usage", "--workers", "--by", "pool")[1]
    assert [row.split() for row in out.splitlines()[1:]] == [
        [name, "45", "10", "5", "0", "75%", "1.5", "-"] for name in ("p", "total")
    ]
    assert json.loads(cogmill("usage", "--workers", "--json")[1])["total"]["busy_s"] == 45.0
    assert cogmill("usage", "--workers", "--campaign", "campaign_1")[0] == 2
    cogmill.routes["GET", "/v1/usage/workers"] = lambda request: httpx.Response(200, text="pool,busy_s\r\n")
    assert cogmill("usage", "--workers", "--csv", "--by", "pool")[1] == "pool,busy_s\r\n"
    assert dict(cogmill.asked[-1].url.params) == {"by": "pool", "format": "csv"}


def test_what_came_to_nothing_is_a_table_csv_or_json(cogmill: Cogmill) -> None:
    line = {"object": "usage.waste.line", "cause": "idle", "hour": None, "pool": "p", "kind": None, "seconds": 45.0}
    found = {
        "object": "usage.waste", "since": 1, "until": 2, "by": ["pool"], "currency": "EUR", "worker_seconds": 90.0,
        "worker_money": 3.0, "data": [{**line, "share": 0.5, "money": 1.5}],
    }  # fmt: skip

    def answer(request: httpx.Request) -> Any:
        return httpx.Response(200, text="cause,seconds\r\n") if request.url.params.get("format") else found

    cogmill.routes["GET", "/v1/usage/waste"] = answer
    out = cogmill("usage", "--waste", "--by", "pool")[1]
    assert [row.split() for row in out.splitlines()] == [
        ["pool", "cause", "seconds", "share", "money", "(EUR)"],
        ["p", "idle", "45", "50.0%", "1.5"],
        ["-", "all", "that", "workers", "did", "90", "100%", "3"],
    ]
    assert json.loads(cogmill("usage", "--waste", "--json")[1])["data"][0]["seconds"] == 45.0
    assert cogmill("usage", "--waste", "--csv")[1] == "cause,seconds\r\n"
    assert cogmill("usage", "--waste", "--workers")[0] == 2
    assert cogmill("usage", "--waste", "--tenant", "acme")[0] == 2


class TestConnection:
    def test_a_profile_is_kept_listed_used_and_its_key_not_shown(
        self, cogmill: Cogmill, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("COGMILL_API")
        monkeypatch.delenv("COGMILL_KEY")
        cogmill.routes["GET", "/v1/videos"] = lambda request: page()
        assert cogmill("profile", "set", "work", "--api", "http://work.test/v1", "--key", "wk")[0] == 0
        assert cogmill("profile", "set", "home", "--api", "http://home.test", "--key", "-", given=b"hk\n")[0] == 0
        assert (tmp_path / "config" / "cogmill" / "config.toml").stat().st_mode & 0o777 == 0o600
        assert cogmill("profile", "list")[1] == "* work  http://work.test\n  home  http://home.test\n"
        assert "wk" not in cogmill("profile", "list", "--json")[1]
        assert cogmill("jobs", "list")[0] == 0
        assert cogmill("jobs", "list", "--use", "home")[0] == 0
        assert cogmill("profile", "use", "home")[0] == 0
        assert cogmill("jobs", "list")[0] == 0
        assert [(each.url.host, each.headers["authorization"]) for each in cogmill.asked] == [
            ("work.test", "Bearer wk"), ("home.test", "Bearer hk"), ("home.test", "Bearer hk"),
        ]  # fmt: skip
        code, _, err = cogmill("jobs", "list", "--use", "gone")
        assert (code, "no profile 'gone'" in err) == (2, True)
        assert cogmill("profile", "set", "x", "--api", "nonsense", "--key", "k")[0] == 2

    def test_without_any_a_local_stack_is_used_or_it_says_what_to_set(
        self, cogmill: Cogmill, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("COGMILL_API")
        monkeypatch.delenv("COGMILL_KEY")
        monkeypatch.setattr(layout, "default", lambda: tmp_path / ".cogmill")
        code, _, err = cogmill("jobs", "list")
        assert code == 2
        assert all(word in err for word in ("COGMILL_API", "cogmill profile set", "cogmill up"))
        data = layout.DataDir(tmp_path / ".cogmill")
        data.secrets.mkdir(parents=True)
        data.api_key.write_text("local-key\n")
        data.state.write_text(State(ports={"api": 8123}).to_json())
        cogmill.routes["GET", "/v1/videos"] = lambda request: page()
        assert cogmill("jobs", "list")[0] == 0
        assert (str(cogmill.asked[0].url), cogmill.asked[0].headers["authorization"]) == (
            "http://127.0.0.1:8123/v1/videos?order=desc&limit=20", "Bearer local-key",
        )  # fmt: skip

    def test_an_api_that_is_not_there_is_one_line(self, cogmill: Cogmill, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.UnsupportedProtocol("no such scheme")

        monkeypatch.setattr(connection, "http_client", lambda: httpx.Client(transport=httpx.MockTransport(refuse)))
        code, out, err = cogmill("jobs", "list")
        assert (code, out) == (1, "")
        assert err == "cogmill: http://api.test cannot be reached for GET /v1/videos: no such scheme\n"

    def test_a_machine_without_the_client_is_told_what_to_install(
        self, cogmill: Cogmill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "find_spec", lambda name: None)
        for command in (["jobs", "list"], ["profile", "list"]):
            code, _, err = cogmill(*command)
            assert (code, "pip install ./api/client" in err) == (2, True)

    def test_the_exit_codes_are_in_the_help(self, cogmill: Cogmill) -> None:
        for command in (["submit"], ["jobs"], ["jobs", "watch"], ["campaign"], ["campaign", "create"]):
            assert "5 needs approval" in " ".join(cogmill(*command, "--help")[1].split())


KEY = {
    "id": "cgm_1", "object": "key", "name": "ci", "created_at": 1, "expires_at": 86400, "revoked_at": None,
    "last_used_at": None, "scopes": ["read"], "allow": ["203.0.113.0/24"], "made_by": None, "replaced_by": None,
}  # fmt: skip


class TestKeys:
    def test_ones_own_keys_are_made_listed_replaced_and_revoked_through_the_api(self, cogmill: Cogmill) -> None:
        cogmill.routes |= {
            ("POST", "/v1/keys"): KEY | {"key": "cgm_1.secret"},
            ("GET", "/v1/keys"): page(KEY),
            ("POST", "/v1/keys/cgm_1/rotate"): KEY | {"key": "cgm_2.secret"},
            ("POST", "/v1/keys/cgm_1/revoke"): KEY,
        }
        asked = ("--name", "ci", "--scopes", "read,submit", "--allow", "203.0.113.0/24", "--expires", "2100-01-01")
        assert cogmill("keys", "create", "--mine", *asked) == (0, "cgm_1.secret\n", "")
        code, out, _ = cogmill("keys", "list", "--mine")
        assert (code, out.splitlines()[1].split()[0]) == (0, "cgm_1")
        assert {"read", "203.0.113.0/24", "ci"} <= set(out.split())
        assert cogmill("keys", "rotate", "cgm_1", "--overlap", "2h", "--mine")[:2] == (0, "cgm_2.secret\n")
        assert cogmill("keys", "revoke", "cgm_1.secret", "--descendants", "--mine")[:2] == (0, "")
        made, rotated, revoked = cogmill.bodies()
        assert datetime.fromisoformat(made.pop("expires_at")) == datetime(2100, 1, 1, tzinfo=UTC)
        assert made == {"name": "ci", "scopes": ["read", "submit"], "allow": ["203.0.113.0/24"]}
        assert (rotated, revoked) == ({"overlap_s": 7200.0}, {"descendants": True})

    def test_a_key_that_may_not_is_one_line(self, cogmill: Cogmill) -> None:
        cogmill.routes["POST", "/v1/keys"] = error(403, "missing_scope")
        assert cogmill("keys", "create", "--mine")[0] == 1
