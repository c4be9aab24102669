"""torch.compile of the transformer's block, for the shapes that were announced and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import RenderSpec

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel


@dataclass(frozen=True, slots=True)
class VideoShape:
    """Pixels and frames of a video."""

    width: int
    height: int
    frames: int

    @classmethod
    def parse(cls, words: str) -> VideoShape:
        """From `WIDTHxHEIGHTxFRAMES`."""
        return cls(*map(int, words.split("x")))

    @classmethod
    def native(cls, family: ModelFamily) -> VideoShape:
        return cls(*family.default_size, family.default_frames)

    @classmethod
    def of(cls, spec: RenderSpec) -> VideoShape:
        return cls(spec.width, spec.height, spec.num_frames)

    def tokens(self, family: ModelFamily) -> int:
        """The image tokens that the blocks see, which is all they see of a shape."""
        return family.image_tokens(self.width, self.height, self.frames)


def compile_blocks(
    transformer: CogVideoXTransformer3DModel,
    family: ModelFamily,
    shapes: Iterable[VideoShape],
    batches: Iterable[int],
    backend: str | Callable[..., Any] = "inductor",
) -> None:
    """Compile `transformer`'s block for each shape and batch, guidance included; afterwards it compiles no more.

    A forward of another shape runs uncompiled, at once. All blocks but the first, whose inputs lie in memory in another
    way, share one program. Takes minutes on a GPU; raises what the compiler raises, and then nothing is compiled.
    """
    # Adapters freeze what they wrap; frozen from the start, the blocks are the same to the compiler before and after.
    transformer.requires_grad_(False)
    with torch.inference_mode():
        inputs = [_inputs(transformer, family, shape, batch) for shape in shapes for batch in batches]
    for block in transformer.transformer_blocks:
        block.compile(backend=backend, dynamic=False, recompile_limit=2 * len(inputs) + 2)
    try:
        with torch.inference_mode():
            for each in inputs:
                transformer(**each)
    except Exception:
        for block in transformer.transformer_blocks:
            block._compiled_call_impl = None
        raise
    # Round this transformer only: as a plain call the stance would hold for the whole process.
    transformer.forward = torch.compiler.set_stance("eager_on_recompile")(transformer.forward)


def _inputs(
    transformer: CogVideoXTransformer3DModel, family: ModelFamily, shape: VideoShape, batch: int
) -> dict[str, Any]:
    """What a step of a render of this shape passes to the transformer, as far as a compiler sees it."""
    config, device, dtype = transformer.config, transformer.device, transformer.dtype
    frames, height, width = family.latent_frames(shape.frames), shape.height // 8, shape.width // 8
    rotary = None
    if config.use_rotary_positional_embeddings:
        size = (shape.tokens(family), config.attention_head_dim)
        rotary = tuple(torch.zeros(size, device=device) for _ in range(2))
    return {
        "hidden_states": torch.zeros(batch, frames, config.in_channels, height, width, device=device, dtype=dtype),
        "encoder_hidden_states": torch.zeros(
            batch, family.max_prompt_tokens, config.text_embed_dim, device=device, dtype=dtype
        ),
        "timestep": torch.zeros(batch, device=device, dtype=torch.int64),
        "ofs": torch.zeros(1, device=device, dtype=dtype) if config.ofs_embed_dim else None,
        "image_rotary_emb": rotary,
        "return_dict": False,
    }
