"""Prompts as the transformer reads them: T5's embeddings, kept for the next render."""

from __future__ import annotations

from functools import lru_cache

import torch

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import RenderSpec
from workers.cogvideox.loading import Pipeline
from workers.engine.parts import Reading

# Prompts whose embeddings are kept: 1.9 MB each in 16 bits. The empty negative prompt is in nearly every render.
_KEPT = 32


class Prompts:
    """The text encoder of one loaded model."""

    def __init__(self, pipeline: Pipeline, family: ModelFamily, device: torch.device) -> None:
        self._pipeline = pipeline
        self._tokens = family.max_prompt_tokens
        self._device = device
        self._embed = lru_cache(maxsize=_KEPT)(self._encode)

    def embeddings(self, spec: RenderSpec) -> torch.Tensor:
        """[2, tokens, dim], the negative prompt's first; [1, tokens, dim] when there is no guidance."""
        prompt = self._embed(spec.prompt)
        if spec.guidance_scale <= 1.0:
            return prompt
        return torch.cat([self._embed(spec.negative_prompt), prompt])

    def read(self, spec: RenderSpec) -> Reading:
        """How many tokens the prompts have, their end marks included, before `_encode` cuts them."""
        counts = [
            len(self._pipeline.tokenizer(text, truncation=False, add_special_tokens=True, verbose=False).input_ids)
            for text in (spec.prompt, spec.negative_prompt)
        ]
        return Reading(prompt=counts[0], negative=counts[1], limit=self._tokens)

    def _encode(self, prompt: str) -> torch.Tensor:
        tokens = self._pipeline.tokenizer(
            prompt,
            padding="max_length",
            max_length=self._tokens,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        encoder = self._pipeline.text_encoder
        # The padding is attended to: the models were trained that way, so there is no attention mask.
        embeddings: torch.Tensor = encoder(tokens.input_ids.to(self._device))[0].to(encoder.dtype)
        return embeddings
