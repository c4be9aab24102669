"""Attention over a sequence in shards: ranks trade tokens for heads, attend, and trade back.

DeepSpeed Ulysses (Jacobs et al. 2023, arXiv:2309.14509), for a sequence whose first tokens, the text's, every rank has.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from workers.cogvideox.attention import Attend
from workers.parallel.mesh import Seat


class Ulysses:
    """`attend` over all tokens and a share of the heads. `tokens` are the whole video's, without padding."""

    def __init__(self, attend: Attend, seat: Seat) -> None:
        self._attend = attend
        self._seat = seat
        self.tokens = 0

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, text_tokens: int) -> torch.Tensor:
        """What `attend` gives for the whole sequence, of it the text and this rank's shard.

        Shapes are [batch, heads, text tokens + shard, head dim]; shards are of equal length, the last one padded.
        """
        shares = torch.stack([query, key, value]).chunk(self._seat.size, dim=2)
        text, shards = _part(self._seat.exchange(torch.stack(shares)), text_tokens)
        # [ranks, 3, batch, heads, shard, dim] in the order of ranks is the sequence; the text is the same in all.
        video = shards.movedim(0, 3).flatten(3, 4)[..., : self.tokens, :]
        query, key, value = torch.cat([text[0], video], dim=-2)
        text, video = _part(self._attend(query, key, value, text_tokens), text_tokens)
        padding = self._seat.size * shards.size(-2) - self.tokens
        shares = functional.pad(video, (0, 0, 0, padding)).chunk(self._seat.size, dim=-2)
        mine = self._seat.exchange(torch.stack([torch.cat([text, share], dim=-2) for share in shares]))
        return mine.movedim(0, 1).flatten(1, 2)


def _part(sequence: torch.Tensor, text_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Text and video of [..., tokens, dim]."""
    return sequence[..., :text_tokens, :], sequence[..., text_tokens:, :]
