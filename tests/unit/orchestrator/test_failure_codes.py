"""The words for what goes wrong: what is stored stays readable, and nobody says one that the domain does not know."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.errors import Refused, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Failure

ROOT = Path(__file__).parents[3]
# As rows and clients have them. One may come, none may go or change.
BESIDE_BOTH = {
    "image_unavailable",
    "checkpoint_unavailable",
    "adapter_unavailable",
    "moderation_unavailable",
    "upload_failed",
    "evicted_too_often",
}
BESIDE_THE_RENDER = BESIDE_BOTH | {
    "out_of_memory",
    "disk_full",
    "provenance_failed",
    "worker_failed",
    "worker_lost",
    "hung",
}
BESIDE_THE_WORKER = BESIDE_BOTH | {
    "image_unreadable",
    "wrong_image",
    "adapter_unusable",
    "impossible_request",
    "prompt_too_long",
    "content_policy_violation",
}
NEITHER = {"nan_frames", "render_error", "checkpoint_unusable"}


def test_the_words_and_what_they_say() -> None:
    assert {code.value for code in FailureCode} == BESIDE_THE_RENDER | BESIDE_THE_WORKER | NEITHER
    assert {code for code in FailureCode if code.beside_the_render} == BESIDE_THE_RENDER
    assert {code for code in FailureCode if code.beside_the_worker} == BESIDE_THE_WORKER
    assert {code for code in FailureCode if code.of_the_request} == BESIDE_THE_WORKER - BESIDE_BOTH


def test_a_refused_request_and_a_refused_video_have_one_word() -> None:
    assert Refused.code == FailureCode.CONTENT_POLICY_VIOLATION


def test_a_failure_holds_the_plain_word_which_any_release_can_read() -> None:
    code = Failure(code=FailureCode.HUNG, message="").code
    assert (code, type(code)) == ("hung", str)
    assert b"FailureCode" not in pickle.dumps(Failure(code=FailureCode.HUNG, message=""))


@pytest.mark.parametrize("word", ["", "of_another_release"])
def test_a_word_of_another_release_is_no_error(word: str) -> None:
    assert FailureCode.of(word) is None
    assert Failure(code=word, message="").code == word


def test_nobody_invents_a_word() -> None:
    """mypy holds `RenderFailed` to the type; `Failure` must also hold what another release said."""
    said = list(_said())
    assert len(said) > 20, "the search finds no calls any more"
    assert [(where, word) for where, word in said if word is not None and FailureCode.of(word) is None] == []


def _said() -> Iterator[tuple[str, str | None]]:
    """Where the product makes a `Failure` or a `RenderFailed`, and the code as written; None when that is no string."""
    for package in ("api", "orchestrator", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in (Failure.__name__, RenderFailed.__name__):
                    named = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
                    yield f"{path.relative_to(ROOT)}:{call.lineno}", _word([*call.args, *named])


def _word(code: list[ast.expr]) -> str | None:
    match code:
        case [ast.Constant(value=str(word)), *_]:
            return word
        case [ast.JoinedStr() as word, *_]:
            return ast.unparse(word)
        case _:
            return None
