"""CogVideoX's attention with the backend that was chosen: diffusers' own processor takes no notice of any."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch.nn import functional

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel
    from diffusers.models.attention import Attention

# Query, key and value, each [batch, heads, tokens, head dim] with the text's tokens first, and how many those are;
# gives [batch, heads, tokens, head dim].
Attend: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


def native(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, text_tokens: int) -> torch.Tensor:
    """What diffusers' own processor calls: torch takes the kernel that it thinks best."""
    return functional.scaled_dot_product_attention(query, key, value)


class Processor:
    """Does what diffusers' `CogVideoXAttnProcessor2_0` does, with `attend` in place of torch's own attention.

    Queries and keys are normalised; those of image tokens are turned by their positions when the model is a rotary one.
    """

    def __init__(self, attend: Attend) -> None:
        self.attend = attend

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and text tokens, each [batch, tokens, dim], after attention over both; this family never masks."""
        text_tokens = encoder_hidden_states.size(1)
        tokens = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query, key, value = (
            project(tokens).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            for turned in (query, key):
                turned[:, :, text_tokens:] = apply_rotary_emb(turned[:, :, text_tokens:], image_rotary_emb)
        attended = self.attend(query, key, value, text_tokens)
        tokens = attn.to_out[0](attended.transpose(1, 2).flatten(2))
        return tokens[:, text_tokens:], tokens[:, :text_tokens]


def install(transformer: CogVideoXTransformer3DModel, attend: Attend) -> None:
    """Make every block of `transformer` attend with `attend` from now on."""
    transformer.set_attn_processor(Processor(attend))
