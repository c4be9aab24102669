"""Writes a checkpoint of `tests/support/published.py`, at its true size or a small one, with random weights.

write(PUBLISHED["cogvideox-2b"], directory)              # 13.8 GB, a shard's tensor at a time
write(PUBLISHED["cogvideox-2b"], directory, small(...))  # a megabyte
"""

from __future__ import annotations

import inspect
import io
import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from orchestrator.domain.catalog import ModelFamily
from tests.support.published import Config, Published, Weights

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]

_STEMS = {"transformer": "diffusion_pytorch_model", "text_encoder": "model", "vae": "diffusion_pytorch_model"}
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
# Values are taken from one block of noise, each tensor's from a place of its own: at true size billions are needed.
_NOISE = 1 << 20
# Of the text that the vocabulary is learned from; every printable ASCII character is in it, too.
_TEXT = (
    "a watermill turning at dawn",
    "the red fox runs through fresh snow",
    "a panda, dressed in a small jacket, plays a guitar",
    "waves roll over the shore, and clouds drift above the river",
    "the wheel begins to turn: slowly, quietly, with the light behind it",
)
_EXTRA_IDS = 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """What replaces a config's numbers; only what it has can be replaced. Empty: the true size."""

    transformer: Mapping[str, int] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=dict)
    text_encoder: Mapping[str, int] = field(default_factory=dict)

    def applied(self, path: str, config: Config) -> Config:
        changes: Mapping[str, Any] = {
            "transformer/config.json": self.transformer,
            "vae/config.json": self.vae,
            "text_encoder/config.json": self.text_encoder,
        }.get(path, {})
        assert changes.keys() <= config.keys(), "the published keys stay as they are"
        return {**config, **changes}


TRUE = Sizes()


def small(model: Published, like: ModelFamily, channels: int = 4) -> Sizes:
    """As small as the tiny checkpoints, made for the sizes and lengths of the family `like`; the VAE's blocks have so
    many channels, which decide how long its decoding takes."""
    published = model.transformer
    width, height = like.default_size
    later = "patch_size_t" in published
    rotary = published["use_rotary_positional_embeddings"]
    transformer = {
        "attention_head_dim": 16 if rotary else 8,
        "in_channels": 4 * published["in_channels"] // published["out_channels"],
        "num_attention_heads": 2 if rotary else 4,
        "num_layers": 2,
        "out_channels": 4,
        "text_embed_dim": 32,
        "time_embed_dim": 16,
    }
    if not later:
        transformer |= {"sample_width": width // 8, "sample_height": height // 8, "sample_frames": like.max_frames}
    if "ofs_embed_dim" in published:
        transformer["ofs_embed_dim"] = transformer["time_embed_dim"]
    vae = {"block_out_channels": [channels] * 4, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2}
    text_encoder = {"d_ff": 37, "d_kv": 8, "d_model": 32, "num_decoder_layers": 2, "num_heads": 4, "num_layers": 2}
    return Sizes(transformer, vae, {**text_encoder, "relative_attention_num_buckets": 8, "vocab_size": 512})


def write(model: Published, directory: Path, sizes: Sizes = TRUE) -> Path:
    """Write every file of the repository below `directory`, which must be new; the same bytes each time."""
    files = {path: _json(sizes.applied(path, config)) for path, config in model.configs.items()} | _tokenizer()
    files |= {
        name: _json({"of": model.repo}) if name.endswith(".json") else f"{name} of {model.repo}\n".encode()
        for name in model.documents
    }
    for path, data in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(data)
    for component, weights in model.weights.items():
        _write_weights(directory / component, component, weights, shapes_of(component, model, sizes))
    return directory


def shapes_of(component: str, model: Published, sizes: Sizes) -> dict[str, Shape]:
    """The component's tensors by name, in the order in which the libraries save them; nothing is allocated."""
    import torch
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    path = f"{component}/config.json"
    config = sizes.applied(path, model.configs[path])
    with torch.device("meta"):
        if component == "text_encoder":
            module: torch.nn.Module = T5EncoderModel(T5Config(**config))
        else:
            kind = {"transformer": CogVideoXTransformer3DModel, "vae": AutoencoderKLCogVideoX}[component]
            module = kind(**{name: value for name, value in config.items() if name in _arguments(kind)})
    # T5's token embeddings are kept once, as `shared`.
    tied = "encoder.embed_tokens.weight"
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if name != tied}


def _arguments(kind: type) -> set[str]:
    return set(inspect.signature(kind).parameters)


def index_of(component: str, weights: Weights, shapes: Mapping[str, Shape]) -> bytes:
    """The JSON file beside several shards: all bytes, and the file of each tensor."""
    names = _shard_names(component, len(weights.shards))
    shards = zip(names, _split(shapes, weights.shards), strict=True)
    placed = {tensor: name for name, tensors in shards for tensor in tensors}
    size = sum(map(math.prod, shapes.values())) * _dtype(weights).itemsize
    return _json({"metadata": {"total_size": size}, "weight_map": placed})


def _shard_names(component: str, count: int) -> list[str]:
    stem = _STEMS[component]
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _write_weights(directory: Path, component: str, weights: Weights, shapes: Mapping[str, Shape]) -> None:
    shards = _split(shapes, weights.shards)
    for name, tensors in zip(_shard_names(component, len(shards)), shards, strict=True):
        with (directory / name).open("xb") as file:
            _write_shard(file, {tensor: shapes[tensor] for tensor in tensors}, _dtype(weights))
    if len(shards) > 1:
        (directory / f"{_STEMS[component]}.safetensors.index.json").write_bytes(index_of(component, weights, shapes))


def _dtype(weights: Weights) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, weights.dtype)
    return dtype


def _split(shapes: Mapping[str, Shape], shares: tuple[float, ...]) -> list[list[str]]:
    """The names of each shard in order. A share of the tensors is about that of the bytes: the layers are all alike."""
    names = list(shapes)
    cuts = [0, *(round(sum(shares[: number + 1]) * len(names)) for number in range(len(shares)))]
    return [names[start:end] for start, end in pairwise(cuts)]


def _write_shard(file: BinaryIO, shapes: Mapping[str, Shape], dtype: torch.dtype) -> None:
    """One safetensors file: eight bytes of length, a header of JSON, the values."""
    import torch

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        kind = _DTYPES[str(dtype).removeprefix("torch.")]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for name, shape in shapes.items():
        for part in _values(name, shape):
            file.write(part.to(dtype).view(torch.uint8).numpy().data)


def _values(name: str, shape: Shape) -> Iterator[torch.Tensor]:
    """A tensor's values, a few megabytes at a time: norms that change nothing, no biases, and noise that neither grows
    nor fades on its way through a layer."""
    import torch

    noise, left = _noise(), math.prod(shape)
    if len(shape) == 1:
        scale, shift = (0.0, 1.0) if name.endswith("weight") else (0.0, 0.0)
    else:
        scale, shift = (1.0 if name == "shared.weight" else (left / shape[0]) ** -0.5), 0.0
    start = zlib.crc32(name.encode()) % _NOISE
    while left:
        part = noise[start : start + left]
        yield torch.full_like(part, shift) if scale == 0.0 else part * scale
        left -= len(part)
        start = 0


@cache
def _noise() -> torch.Tensor:
    import torch

    return torch.randn(_NOISE, generator=torch.Generator().manual_seed(2))


@cache
def _tokenizer() -> dict[str, bytes]:
    """The four files of `tokenizer/`: a vocabulary that SentencePiece learns here, with T5's own special tokens.

    BYTES of 5B-I2V for all but the vocabulary, where that has 32,000 pieces.
    """
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*_TEXT, *map(chr, range(ord("!"), ord("~") + 1))] * 3),
        model_writer=written,
        model_type="unigram",
        vocab_size=256,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    vocabulary = written.getvalue()
    pieces = sentencepiece.SentencePieceProcessor(model_proto=vocabulary).get_piece_size()
    configs = {f"tokenizer/{name}": _json(config) for name, config in tokenizer_configs(pieces).items()}
    return {**configs, "tokenizer/spiece.model": vocabulary}


def tokenizer_configs(pieces: int) -> dict[str, Config]:
    """The JSON files of `tokenizer/` for a vocabulary of so many pieces, as transformers 4 saved them."""
    extra = [f"<extra_id_{number}>" for number in range(_EXTRA_IDS)]
    ids = {token: pieces + _EXTRA_IDS - 1 - number for number, token in enumerate(extra)}
    plain = {
        token: {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
        for token in ("<pad>", "</s>", "<unk>")
    }
    decoder = {str(number): {**token, "special": True} for number, token in enumerate(plain.values())}
    for token in reversed(extra):
        stripped = {"content": token, "lstrip": True, "normalized": False, "rstrip": True, "single_word": False}
        decoder[str(ids[token])] = {**stripped, "special": True}
    named = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return {
        "added_tokens.json": ids,
        "special_tokens_map.json": {
            "additional_special_tokens": extra,
            **{name: plain[token] for name, token in named.items()},
        },
        "tokenizer_config.json": {
            "add_prefix_space": True,
            "added_tokens_decoder": decoder,
            "additional_special_tokens": extra,
            "clean_up_tokenization_spaces": True,
            "extra_ids": _EXTRA_IDS,
            "legacy": True,
            "model_max_length": 226,
            "sp_model_kwargs": {},
            "tokenizer_class": "T5Tokenizer",
            **named,
        },
    }


def _json(document: Config) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
