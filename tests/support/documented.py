"""The commands that a document has, taken out of it, and a shell that runs them as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from typer.testing import CliRunner

from orchestrator import cli
from tests.support.kubectl import Shell


def blocks(document: str, heading: str) -> list[list[str]]:
    """The commands below a heading, up to the next one: those of each block, and each that stands in a sentence."""
    [section] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", document, re.MULTILINE | re.DOTALL)
    found: list[list[str]] = []
    for block, word in re.findall(r"```sh\n(.*?)```|`((?:kubectl|cogmill) [^`]+)`", section, re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines() if block else [" ".join(word.split())]
        bare = [re.sub(r"(^|\s+)# .*", "", line) for line in lines]
        found.append([line for line in bare if line])
    return found


@dataclass
class Player:
    """Runs lines in one shell after another; `others` are told of what needs more than kubectl and cogmill.

    What `kubectl exec` executes runs here, on the database of the test, once its Deployment is there.
    """

    shell: Shell
    # What the document's words stand for.
    words: Mapping[str, str]
    others: Mapping[str, Callable[[list[str]], Awaitable[None]]] = field(default_factory=dict)
    _variables: list[str] = field(default_factory=list)

    async def run(self, *lines: str) -> str:
        """What the last of them said; fails the test when one fails."""
        said = ""
        for line in map(self._filled, lines):
            if executed := re.fullmatch(r"(kubectl .*?)exec (\S+) -- (cogmill .*)", line):
                await self._shell(f"{executed[1]}get {executed[2]} -o name")
                line = executed[3]
            program = line.split()[0]
            if program in self.others:
                await self.others[program](shlex.split(line))
            elif program == "cogmill":
                said = await asyncio.to_thread(self._cogmill, line)
            else:
                said = await self._shell(line)
                if re.match(r"[A-Z_]+=", line):
                    self._variables.append(line)
        return said

    async def _shell(self, line: str) -> str:
        code, said = await self.shell.run("\n".join([*self._variables, line]))
        assert code == 0, f"{line}\n{said}"
        return said

    def _cogmill(self, line: str) -> str:
        """The command in this process, which has imported it already, with the variables of the shell alone."""
        env: dict[str, str | None] = {name: None for name in os.environ if name.startswith("COGMILL_")}
        result = CliRunner().invoke(cli.app, shlex.split(line)[1:], env=env | self.shell.environment)
        assert result.exit_code == 0, f"{line}\n{result.output} {result.exception!r}"
        return result.output

    def _filled(self, line: str) -> str:
        words = "|".join(map(re.escape, self.words))
        return re.sub(rf"(?<![\w$])({words})(?![\w=])", lambda found: self.words[found[1]], line)
