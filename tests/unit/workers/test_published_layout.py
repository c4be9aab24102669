"""The published layout is the one of public sources, to the byte where they count bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.domain.catalog import FAMILIES
from tests.support.published import PUBLISHED
from tests.support.published_files import tokenizer_configs

# Of the mirror's index of CogVideoX-5b-I2V: bytes, or KiB to one digit.
BYTES = {
    "model_index.json": 423,
    "scheduler/scheduler_config.json": 482,
    "text_encoder/config.json": 782,
    "transformer/config.json": 802,
    "vae/config.json": 839,
}
KIB = {"added_tokens.json": 2.5, "special_tokens_map.json": 2.5, "tokenizer_config.json": 20.1}


def size(document: Mapping[str, Any]) -> int:
    return len(json.dumps(document, indent=2, sort_keys=True)) + 1


def test_each_config_of_the_model_whose_sizes_are_public_has_that_size() -> None:
    assert {path: size(config) for path, config in PUBLISHED["cogvideox-5b-i2v"].configs.items()} == BYTES


def test_each_file_of_the_tokenizer_has_the_public_size() -> None:
    sizes = {name: size(config) / 1024 for name, config in tokenizer_configs(pieces=32_000).items()}
    assert sizes == pytest.approx(KIB, abs=0.05)


def test_every_large_family_has_its_published_model() -> None:
    assert set(PUBLISHED) == {name for name in FAMILIES if name.startswith("cogvideox-")}
    for name, model in PUBLISHED.items():
        family, transformer = FAMILIES[name], model.transformer
        assert (transformer["in_channels"] == 32) is family.image_to_video
        assert transformer.get("patch_size_t", 1) == family.temporal_patch
        assert transformer["num_attention_heads"] * transformer["attention_head_dim"] == family.token_dim
        assert model.weights["transformer"].dtype == family.dtype
