"""What is said of prompts that a model does not render whole: pure rules on how many tokens it counted."""

from __future__ import annotations

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Incident, RenderSpec
from workers.engine.parts import Reading


def remarks(reading: Reading, spec: RenderSpec) -> tuple[Incident, ...]:
    """What befalls the prompts of a render."""
    found = [Incident.PROMPT_CUT] if reading.prompt > reading.limit else []
    if spec.negative_prompt.strip() and spec.guidance_scale <= 1.0:
        found.append(Incident.NEGATIVE_PROMPT_UNUSED)
    elif reading.negative > reading.limit:
        found.append(Incident.NEGATIVE_PROMPT_CUT)
    return tuple(found)


def require_whole(reading: Reading, spec: RenderSpec) -> None:
    """Raise `RenderFailed` (`prompt_too_long`, final) where a `strict_prompt` would be cut."""
    befell = remarks(reading, spec) if spec.strict_prompt else ()
    for incident, name, count in (
        (Incident.PROMPT_CUT, "prompt", reading.prompt),
        (Incident.NEGATIVE_PROMPT_CUT, "negative_prompt", reading.negative),
    ):
        if incident in befell:
            raise RenderFailed(
                FailureCode.PROMPT_TOO_LONG,
                f"{name}: has {count} tokens, of which {spec.model} reads {reading.limit}; shorten it, or leave "
                "strict_prompt out to have its end cut off",
                retryable=False,
            )
