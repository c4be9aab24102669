"""The tiny checkpoints: whole or absent, the same from the same recipe, and made without disturbing anyone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.domain.catalog import FAMILIES, TINY
from orchestrator.domain.errors import ConfigError
from workers.cogvideox import tiny

Checkpoint = Callable[[str], Path]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("family", [family.name for family in TINY])
def test_the_same_recipe_makes_the_same_bytes(tiny_checkpoint: Checkpoint, tmp_path: Path, family: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    again = tiny.make(FAMILIES[family], tmp_path)
    assert contents(again) == contents(tiny_checkpoint(family))
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's random numbers are its own"
    assert list(tmp_path.iterdir()) == [again], "nothing half-made is left"


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class HalfMade:
        def save_pretrained(self, path: Path) -> None:
            path.mkdir()
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiny, "_pipeline", lambda family: HalfMade())
    with pytest.raises(ConfigError, match="No space left"):
        tiny.make(FAMILIES["tiny-2b"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_makers_at_once_end_with_one_checkpoint(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slower:
        def save_pretrained(self, path: Path) -> None:
            path.mkdir()
            target = tmp_path / tiny_checkpoint("tiny-2b").name
            target.mkdir()
            (target / "by").write_text("the faster one")

    monkeypatch.setattr(tiny, "_pipeline", lambda family: Slower())
    made = tiny.make(FAMILIES["tiny-2b"], tmp_path)
    assert (made / "by").read_text() == "the faster one"
    assert list(tmp_path.iterdir()) == [made]


def test_only_tiny_families_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cogvideox-5b"):
        tiny.make(FAMILIES["cogvideox-5b"], tmp_path)
