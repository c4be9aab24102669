"""One rank's share of a transformer's forward, and the whole prediction from all shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import Module, functional

from workers.cogvideox.attention import Processor, install
from workers.parallel.mesh import Seat
from workers.parallel.ulysses import Ulysses

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel


class Share:
    """A `Transform` (`workers/cogvideox/model.py`) that every rank calls at once, alike: gives all the same bits.

    In its blocks the transformer sees this rank's shard of the video's tokens, and all of the text's. What it does
    there to tokens it does to each alone, but for attention, which `Ulysses` does.
    """

    def __init__(self, transformer: CogVideoXTransformer3DModel, guidance: Seat, sequence: Seat) -> None:
        """Take over `transformer`, which `workers.cogvideox.attention.install` has given its attention."""
        self._transformer = transformer
        self._guidance = guidance
        self._sequence = sequence
        if sequence.size > 1:
            self._shard_blocks()

    def __call__(
        self,
        *,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None,
        ofs: torch.Tensor | None,
    ) -> torch.Tensor:
        """The prediction for the whole batch.

        Guidance's two halves are predicted by half of the ranks each; a batch without guidance, by both alike.
        """
        halved = self._guidance.size > 1 and hidden_states.size(0) % self._guidance.size == 0
        if halved:
            hidden_states, encoder_hidden_states, timestep = (
                whole.chunk(self._guidance.size)[self._guidance.index]
                for whole in (hidden_states, encoder_hidden_states, timestep)
            )
        if image_rotary_emb is not None and self._sequence.size > 1:
            cosines, sines = image_rotary_emb
            image_rotary_emb = self._shard(cosines), self._shard(sines)
        predicted: torch.Tensor = self._transformer(
            hidden_states=hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            image_rotary_emb=image_rotary_emb,
            ofs=ofs,
            return_dict=False,
        )[0]
        return torch.cat(self._guidance.gather(predicted)) if halved else predicted

    def _shard_blocks(self) -> None:
        # All blocks have the same processor.
        processor = next(iter(self._transformer.attn_processors.values()))
        assert isinstance(processor, Processor)
        attention = Ulysses(processor.attend, self._sequence)
        install(self._transformer, attention)

        def take(module: Module, inputs: tuple[torch.Tensor, ...], embedded: torch.Tensor) -> torch.Tensor:
            text_tokens = inputs[0].size(1)
            attention.tokens = embedded.size(1) - text_tokens
            video = embedded[:, text_tokens:].transpose(0, 1)
            return torch.cat([embedded[:, :text_tokens], self._shard(video).transpose(0, 1)], dim=1)

        def gather(module: Module, inputs: tuple[torch.Tensor, ...], shard: torch.Tensor) -> torch.Tensor:
            return torch.cat(self._sequence.gather(shard), dim=1)[:, : attention.tokens]

        self._transformer.patch_embed.register_forward_hook(take)
        # Not after the last linear layer, where it would be less to send: a LoRA adapter may stand around that one.
        self._transformer.norm_out.register_forward_hook(gather)

    def _shard(self, tokens: torch.Tensor) -> torch.Tensor:
        """This rank's shard of [tokens, ...]; all are of equal length, with zeros for what is missing of the last."""
        length = -(-tokens.size(0) // self._sequence.size)
        shard = tokens[self._sequence.index * length : (self._sequence.index + 1) * length]
        return functional.pad(shard, (0, 0) * (shard.dim() - 1) + (0, length - shard.size(0)))
