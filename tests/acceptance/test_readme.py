"""Every snippet of the README's chapter on clients runs as it is printed, with the package that its heading names.

So do those of the ten lines for a cluster that need none.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.clients import Client
from tests.support.stack import Up
from tests.support.web import Web

README = (Path(__file__).parents[2] / "README.md").read_text()
CHAPTER = README.partition("\n## The client that you have\n")[2].partition("\n## ")[0]
CLUSTER = README.partition("\n## Ten lines to a first video on a cluster\n")[2].partition("\n## ")[0]
INTRODUCTION, *SECTIONS = CHAPTER.split("\n### ")
SECTIONS = [section for section in SECTIONS if "\n```" in section]
PATH = "/usr/local/bin:/usr/bin:/bin"
SNIPPET = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# A section's heading: the clients that its snippets are for.
CLIENTS = {
    "openai for Python, 2.x and 3.x": ("openai-3", "openai-2"),
    "openai for Node": ("openai-node",),
    "zai-sdk": ("zai-sdk",),
    "zhipuai": ("zhipuai",),
    "A batch": ("openai-3",),
}
OUR_OWN = "Our own client for Python"
COMMANDS = "The command line"
SHELL = "curl"
WEBHOOK = "A webhook"


def snippets(heading: str) -> Iterator[tuple[str, str]]:
    """The language and the code of each snippet of a section."""
    (section,) = (text for text in SECTIONS if text.startswith(f"{heading}\n"))
    for found in SNIPPET.finditer(section):
        yield found[1], found[2]


@pytest.fixture(scope="module")
def exported(stack: Up) -> Mapping[str, str]:
    """The environment after the chapter's own `export` lines."""
    ((_, exports),) = SNIPPET.findall(INTRODUCTION)
    lines = shell(f"{exports}env -0", {"API": stack.ready["api"], "KEY": stack.ready["key"]}).split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def test_every_section_is_tested() -> None:
    assert {section.partition("\n")[0] for section in SECTIONS} == {*CLIENTS, OUR_OWN, COMMANDS, SHELL, WEBHOOK}


@pytest.mark.parametrize(
    ("heading", "client"), [(heading, client) for heading, clients in CLIENTS.items() for client in clients]
)
def test_a_clients_snippets_leave_the_videos_that_they_name(
    heading: str,
    client: str,
    official_client: Callable[[str], Client],
    exported: Mapping[str, str],
    picture: Mapping[str, str],
    tmp_path: Path,
) -> None:
    shutil.copy(picture["picture"], tmp_path / "mill.png")
    program = "\n".join(code for _, code in snippets(heading))
    official_client(client).run(program, tmp_path, environment=exported)
    check_videos(tmp_path, program)


def test_our_own_clients_snippets_leave_the_videos_that_they_name(exported: Mapping[str, str], tmp_path: Path) -> None:
    program = "\n".join(code for language, code in snippets(OUR_OWN) if language == "python")
    Client(Path(sys.executable)).run(program, tmp_path, environment=exported)
    check_videos(tmp_path, program)
    assert {path.name for path in (tmp_path / "videos").glob("*.mp4")} == {"mug-1.mp4", "mug-2.mp4"}


def test_the_command_lines_submit_and_make_a_campaign(exported: Mapping[str, str], tmp_path: Path) -> None:
    ((language, lines),) = snippets(COMMANDS)
    assert language == "sh"
    (tmp_path / "products.csv").write_text("custom_id,product,scene\nmug-1,red mug,table\nmug-2,blue mug,shelf\n")
    own = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    printed = shell(lines, {**exported, **own}, tmp_path, path=f"{Path(sys.executable).parent}:{PATH}")
    assert "campaign" in printed
    check_videos(tmp_path, lines)


def test_the_lines_for_curl_follow_a_video_to_its_end(exported: Mapping[str, str], tmp_path: Path) -> None:
    ((language, lines),) = snippets(SHELL)
    assert language == "sh"
    events = shell(lines, exported, tmp_path)
    assert "step" in events
    check_videos(tmp_path, lines)


def test_the_last_two_lines_for_a_cluster_make_a_video(exported: Mapping[str, str], tmp_path: Path) -> None:
    ((_, lines),) = SNIPPET.findall(CLUSTER)
    *_, create, follow = lines.splitlines()
    address, create = create.split(" && ", 1)
    assert address == "API=http://localhost:8000"  # of a port that is forwarded
    assert "step" in shell(f"{create}\n{follow}", exported, tmp_path)
    check_videos(tmp_path, follow)


def test_the_lines_for_webhooks_read_what_is_delivered(
    stack: Up, official_client: Callable[[str], Client], exported: Mapping[str, str], web: Web, tmp_path: Path
) -> None:
    (_, create), (_, unwrap) = snippets(WEBHOOK)
    endpoint = json.loads(shell(create, {**exported, "RECEIVER": f"{web.url}/readme"}))
    with stack.client() as client:
        asked = {"prompt": "a watermill", "num_inference_steps": 1, "num_frames": 9}
        client.post("/v1/videos", json=asked).raise_for_status()
        delivered = next(web.arrivals("/readme"))
        client.delete(f"/v1/webhook_endpoints/{endpoint['id']}").raise_for_status()
    known = f"""\
from openai import OpenAI
body, headers, secret = {delivered.body!r}, {dict(delivered.headers)!r}, {endpoint["signing_secret"]!r}
"""
    printed = official_client("openai-3").run(known + unwrap, tmp_path, environment=exported)
    event = json.loads(delivered.body)
    assert printed == f"video.completed {event['data']['id']}\n"


def check_videos(directory: Path, program: str) -> None:
    """What a program left: MP4s, those among them that it names."""
    left = {path.name: path.read_bytes() for path in directory.glob("*.mp4")}
    assert set(re.findall(r"\b[a-z]+\.mp4", program)) <= left.keys() != set()
    assert all(data[4:8] == b"ftyp" for data in left.values())


def shell(lines: str, environment: Mapping[str, str], directory: Path | None = None, *, path: str = PATH) -> str:
    """What lines of shell print; the first that fails ends them."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        env={**environment, "PATH": path},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
