"""The five CogVideoX checkpoints as the Hub publishes them: every file, every key of every config, at any size.

Read from public sources in November 2026, not from the Hub itself. What confirms a value:

- BYTES: a mirror's index of `THUDM/CogVideoX-5b-I2V` (ZHUI/paddlenlp_model_readme, its "Model Files") gives each file's
  size; the configs below have exactly these sizes, which `tests/unit/workers/test_published_layout.py` holds. The
  shards' sizes there, and so their number and dtype, are the ones here.
- TOTAL: a public log of a verified download of `zai-org/CogVideoX-2b` at 1137dacf counts 13,775,555,658 bytes. That is
  T5 and DiT in 16 bits, the VAE in **32**, and one megabyte of everything else, within a thousandth of a percent.
- COPIES: the configs of all five transformers, VAEs and schedulers in benjamin-paine/taproot; of 2B and 5B also in
  MinusZone's ComfyUI nodes; 2B's four tokenizer files, two T5 shards and one DiT file in wget lines of several READMEs.
- SHARDS: the files of `zai-org/CogVideoX1.5-5B-I2V` in a public download check: three of the DiT, four of T5. At the
  libraries' 5 GB a shard, four are what T5-XXL takes in 32 bits.
- SCRIPT: diffusers' `convert_cogvideox_to_diffusers.py`, which wrote them: a DDIM scheduler whatever the model,
  `T5Tokenizer` with `model_max_length` 226.

Not confirmed: whether 5B's and 1.5-5B's own scheduler is the script's (Cogmill never trusts it), the version strings of
all but 5B-I2V and 2B's transformer, 2B's VAE keys since its first commit, the dtype of 5B's and 1.5's VAE (bfloat16 as
of 5B-I2V), that 1.5-5B is sharded as its sibling, and which documents lie beside the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

# Shares of a component's bytes that its shards hold, in order; files of the libraries' 5 and 10 GB at true size.
_ONE = (1.0,)
_T5_TWO = (0.525, 0.475)
_T5_FOUR = (0.26, 0.26, 0.26, 0.22)
_DIT_TWO = (0.89, 0.11)
_DIT_THREE = (0.444, 0.444, 0.112)

_BLOCKS = 4
# BYTES, COPIES.
_TRANSFORMER = {
    "_class_name": "CogVideoXTransformer3DModel",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 64,
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 16,
    "max_text_seq_length": 226,
    "norm_elementwise_affine": True,
    "norm_eps": 1e-05,
    "num_attention_heads": 48,
    "num_layers": 42,
    "out_channels": 16,
    "patch_size": 2,
    "sample_frames": 49,
    "sample_height": 60,
    "sample_width": 90,
    "spatial_interpolation_scale": 1.875,
    "temporal_compression_ratio": 4,
    "temporal_interpolation_scale": 1.0,
    "text_embed_dim": 4096,
    "time_embed_dim": 512,
    "timestep_activation_fn": "silu",
    "use_rotary_positional_embeddings": True,
}
# COPIES: 1.5 knows the keys that came with it.
_TRANSFORMER_15 = _TRANSFORMER | {
    "patch_bias": False,
    "patch_size_t": 2,
    "sample_frames": 81,
    "sample_height": 300,
    "sample_width": 300,
    "use_learned_positional_embeddings": False,
}
# BYTES, COPIES.
_VAE = {
    "_class_name": "AutoencoderKLCogVideoX",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 256, 512],
    "down_block_types": ["CogVideoXDownBlock3D"] * _BLOCKS,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 16,
    "latents_mean": None,
    "latents_std": None,
    "layers_per_block": 3,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_height": 480,
    "sample_width": 720,
    "scaling_factor": 0.7,
    "shift_factor": None,
    "temporal_compression_ratio": 4,
    "up_block_types": ["CogVideoXUpBlock3D"] * _BLOCKS,
    "use_post_quant_conv": False,
    "use_quant_conv": False,
}
# COPIES (MinusZone): the first one had keys that diffusers has dropped since, and says so when it reads them.
_VAE_2B = {name: value for name, value in _VAE.items() if name not in ("sample_height", "sample_width")} | {
    "mid_block_add_attention": True,
    "sample_size": 256,
    "scaling_factor": 1.15258426,
}
# BYTES, SCRIPT; COPIES have `snr_shift_scale` 3.0 for 2B.
_SCHEDULER = {
    "_class_name": "CogVideoXDDIMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "sample_max_value": 1.0,
    "set_alpha_to_one": True,
    "snr_shift_scale": 1.0,
    "steps_offset": 0,
    "timestep_spacing": "trailing",
    "trained_betas": None,
}
# BYTES: google/t5-v1_1-xxl's own keys, as transformers 4 saved an encoder.
_TEXT_ENCODER = {
    "_name_or_path": "google/t5-v1_1-xxl",
    "architectures": ["T5EncoderModel"],
    "classifier_dropout": 0.0,
    "d_ff": 10240,
    "d_kv": 64,
    "d_model": 4096,
    "decoder_start_token_id": 0,
    "dense_act_fn": "gelu_new",
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "is_gated_act": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "t5",
    "num_decoder_layers": 24,
    "num_heads": 64,
    "num_layers": 24,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.44.2",
    "use_cache": True,
    "vocab_size": 32128,
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A component's tensors: their torch dtype's name, and the share of the bytes in each file."""

    dtype: str
    shards: tuple[float, ...] = _ONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One repository. `version` is the diffusers that saved it."""

    family: str
    repo: str
    version: str
    transformer: Config
    vae: Config
    scheduler: Config
    weights: Mapping[str, Weights]
    documents: tuple[str, ...] = (".gitattributes", "LICENSE", "README.md", "README_zh.md")

    @property
    def model_index(self) -> Config:
        """BYTES."""
        picture = self.transformer["in_channels"] != self.transformer["out_channels"]
        return {
            "_class_name": "CogVideoXImageToVideoPipeline" if picture else "CogVideoXPipeline",
            "_diffusers_version": self.version,
            "scheduler": ["diffusers", self.scheduler["_class_name"]],
            "text_encoder": ["transformers", "T5EncoderModel"],
            "tokenizer": ["transformers", "T5Tokenizer"],
            "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
            "vae": ["diffusers", "AutoencoderKLCogVideoX"],
        }

    @property
    def configs(self) -> dict[str, Config]:
        """Every JSON file but the tokenizer's and the shards' indexes, by its path."""
        said = {"_diffusers_version": self.version}
        return {
            "model_index.json": self.model_index,
            "scheduler/scheduler_config.json": {**self.scheduler, **said},
            "text_encoder/config.json": {**_TEXT_ENCODER, "torch_dtype": self.weights["text_encoder"].dtype},
            "transformer/config.json": {**self.transformer, **said},
            "vae/config.json": {**self.vae, **said},
        }


PUBLISHED = {
    model.family: model
    for model in (
        Published(
            family="cogvideox-2b",
            repo="zai-org/CogVideoX-2b",
            version="0.30.0.dev0",
            transformer=_TRANSFORMER
            | {"num_attention_heads": 30, "num_layers": 30, "use_rotary_positional_embeddings": False},
            vae=_VAE_2B,
            scheduler=_SCHEDULER | {"snr_shift_scale": 3.0},
            weights={
                "transformer": Weights("float16"),
                "text_encoder": Weights("float16", _T5_TWO),
                "vae": Weights("float32"),
            },
        ),
        Published(
            family="cogvideox-5b",
            repo="zai-org/CogVideoX-5b",
            version="0.31.0.dev0",
            transformer=_TRANSFORMER,
            vae=_VAE,
            scheduler=_SCHEDULER,
            weights={
                "transformer": Weights("bfloat16", _DIT_TWO),
                "text_encoder": Weights("bfloat16", _T5_TWO),
                "vae": Weights("bfloat16"),
            },
        ),
        Published(
            family="cogvideox-5b-i2v",
            repo="zai-org/CogVideoX-5b-I2V",
            version="0.31.0.dev0",
            transformer=_TRANSFORMER | {"in_channels": 32, "use_learned_positional_embeddings": True},
            vae=_VAE,
            scheduler=_SCHEDULER,
            weights={
                "transformer": Weights("bfloat16", _DIT_THREE),
                "text_encoder": Weights("bfloat16", _T5_TWO),
                "vae": Weights("bfloat16"),
            },
            documents=(".gitattributes", "LICENSE", "README.md", "README_zh.md", "configuration.json"),
        ),
        *(
            Published(
                family=family,
                repo=repo,
                version="0.32.0.dev0",
                transformer=_TRANSFORMER_15 | picture,
                vae=_VAE | {"invert_scale_latents": True},
                scheduler=_SCHEDULER,
                weights={
                    "transformer": Weights("bfloat16", _DIT_THREE),
                    "text_encoder": Weights("float32", _T5_FOUR),
                    "vae": Weights("bfloat16"),
                },
            )
            for family, repo, picture in (
                ("cogvideox-1.5-5b", "zai-org/CogVideoX1.5-5B", {}),
                ("cogvideox-1.5-5b-i2v", "zai-org/CogVideoX1.5-5B-I2V", {"in_channels": 32, "ofs_embed_dim": 512}),
            )
        ),
    )
}
