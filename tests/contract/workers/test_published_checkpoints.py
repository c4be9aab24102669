"""A checkpoint as the Hub publishes it loads: a vocabulary of SentencePiece alone, shards, the dtypes of their time."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from transformers import T5Tokenizer

from orchestrator.domain.catalog import FAMILIES, TINY
from orchestrator.domain.errors import ConfigError
from tests.support.models import Checkpoint, Loaded
from tests.support.published import PUBLISHED
from tests.support.published_files import TRUE, index_of, shapes_of
from workers.modelfiles import require_whole

PUBLISHED_TINY = [f"{family.name}@published" for family in TINY]
TOKENIZER = ["added_tokens.json", "special_tokens_map.json", "spiece.model", "tokenizer_config.json"]

PROMPTS = [
    "a watermill turning at dawn",
    "A Red Fox, and nothing else.",
    "  two  spaces\tand a tab\nand a line ",
    "river " * 300,
    "a fox 🦊 in ｆｕｌｌ　ｗｉｄｔｈ, ﬁne … é e\u0301 \u00a0 \u200b 水车",
    "▁ x▁y",
    "",
]


@pytest.fixture
def tokens(tiny_checkpoint: Checkpoint) -> Path:
    return tiny_checkpoint("tiny-2b@published") / "tokenizer"


@pytest.mark.parametrize("limit", [224, 226])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_vocabulary_of_sentencepiece_alone_gives_its_own_ids(tokens: Path, prompt: str, limit: int) -> None:
    """Ended by one `</s>`, cut where the model ends, padded with zeros: what T5 was trained on."""
    assert sorted(file.name for file in tokens.iterdir()) == TOKENIZER, "and no tokenizer.json"
    loaded = T5Tokenizer.from_pretrained(tokens, local_files_only=True)
    got = loaded(prompt, padding="max_length", max_length=limit, truncation=True, return_tensors="pt").input_ids[0]
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokens / "spiece.model")).encode(prompt)
    told = [*pieces[: limit - 1], 1]
    assert got.tolist() == told + [0] * (limit - len(told))


def test_the_extra_ids_lie_behind_the_vocabulary(tokens: Path) -> None:
    loaded = T5Tokenizer.from_pretrained(tokens, local_files_only=True)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokens / "spiece.model")).get_piece_size()
    assert (loaded.pad_token_id, loaded.eos_token_id, loaded.unk_token_id) == (0, 1, 2)
    assert loaded.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_99>"]) == [pieces + 99, pieces]
    assert len(loaded) == pieces + 100
    assert len(loaded) < json.loads((tokens.parent / "text_encoder" / "config.json").read_text())["vocab_size"]


@pytest.mark.parametrize("name", PUBLISHED_TINY)
def test_a_published_checkpoint_loads_with_every_weight_that_its_files_hold(
    tiny_checkpoint: Checkpoint, loaded: Loaded, name: str
) -> None:
    path, pipeline = tiny_checkpoint(name), loaded(name)._pipeline
    model = PUBLISHED[name.removesuffix("@published").replace("tiny", "cogvideox")]
    for component, weights in model.weights.items():
        files = sorted((path / component).glob("*.safetensors"))
        assert len(files) == len(weights.shards)
        module = getattr(pipeline, component).state_dict()
        for tensor, stored in (item for file in files for item in load_file(file).items()):
            assert stored.dtype == getattr(torch, weights.dtype)
            assert torch.equal(module[tensor], stored.float()), tensor


@pytest.mark.parametrize("name", [name for name in FAMILIES if name.startswith("cogvideox-")])
def test_at_its_true_size_a_model_has_the_public_count_of_bytes(name: str) -> None:
    """Nothing is written: the shapes of the libraries' own classes, and the indexes of their shards."""
    model = PUBLISHED[name]
    shapes = {component: shapes_of(component, model, TRUE) for component in model.weights}
    size = {
        component: sum(map(math.prod, shapes[component].values())) * getattr(torch, weights.dtype).itemsize
        for component, weights in model.weights.items()
    }
    if name == "cogvideox-2b":
        # All 16 files: the rest are headers, documents, configs and 791,656 bytes of vocabulary.
        assert 0 < 13_775_555_658 - sum(size.values()) < 1_100_000
    if name == "cogvideox-5b-i2v":
        assert size["vae"] / 2**20 == pytest.approx(411.2, abs=0.1)
        assert size["text_encoder"] / 2**30 == pytest.approx(4.7 + 4.2, abs=0.1)
        assert size["transformer"] / 2**30 == pytest.approx(4.6 + 4.6 + 1.2, abs=0.15)
        for component, kib in (("text_encoder", 19.4), ("transformer", 100.7)):
            index = index_of(component, model.weights[component], shapes[component])
            assert len(index) / 1024 == pytest.approx(kib, abs=0.06)
    # At most 5 or 10 GB a shard, as the libraries cut them; 5B's DiT alone was saved at the larger one.
    assert all(size[part] / len(weights.shards) < 10e9 for part, weights in model.weights.items())


@pytest.mark.parametrize(
    ("gone", "complaint"),
    [
        ("tokenizer/spiece.model", "tokenizer has no vocabulary"),
        (
            "transformer/diffusion_pytorch_model-00002-of-00003.safetensors",
            "names diffusion_pytorch_model-00002-of-00003.safetensors, which is missing",
        ),
        ("text_encoder/model-00001-of-00002.safetensors", "names model-00001-of-00002.safetensors, which is missing"),
        ("scheduler/scheduler_config.json", "model_index.json names scheduler, which is missing"),
    ],
)
def test_a_published_checkpoint_that_lacks_a_file_is_not_whole(
    tiny_checkpoint: Checkpoint, tmp_path: Path, gone: str, complaint: str
) -> None:
    path = Path(shutil.copytree(tiny_checkpoint("tiny-5b-i2v@published"), tmp_path / "model"))
    require_whole(path)
    (path / gone).unlink()
    with pytest.raises(ConfigError, match=complaint):
        require_whole(path)
