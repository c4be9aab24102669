"""What `cogmill up` prints when the stack is ready: where things are, and a line to paste for each dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.local.stack import Ready

_PROMPT = "a watermill turning at dawn"


def text(ready: Ready, settings: Settings, unfit: Mapping[str, str]) -> str:
    """The whole greeting, several lines. `unfit` are the models that cannot be loaded, and why."""
    models = "\n".join(
        f"  {model:<12} {', '.join(alias for alias, target in settings.aliases.items() if target == model)}"
        for model in settings.models
        if model not in unfit
    )
    missing = "".join(f"\nNOT AVAILABLE: {model}: {why}\n" for model, why in unfit.items())
    tiny = all(settings.family_of(model).name.startswith("tiny-") for model in settings.models)
    vendors = "cogvideox-flash" if "cogvideox-flash" in settings.aliases else settings.default_model
    note = "\n  Random weights: the whole path is real, the pictures are not art.\n" if tiny else ""
    return f"""\
Cogmill is ready.

  API        {ready.api}   (documentation: {ready.api}/docs)
  key        {ready.key}
  console    {ready.api}/console   (sign in with that key)
  database   {ready.database}
  S3         {ready.s3}
  metrics    {"  ".join(ready.metrics.values())}
  data       {ready.data_dir}   (logs in {ready.data_dir}/logs)

Models, and the names that they answer to:
{models}
{missing}{note}
The OpenAI dialect:
  {_curl(ready, "/v1/videos", settings.default_model)}
  curl {ready.api}/v1/videos -H 'Authorization: Bearer {ready.key}'

The bigmodel dialect:
  {_curl(ready, "/api/paas/v4/videos/generations", vendors)}
  curl {ready.api}/api/paas/v4/async-result/ID -H 'Authorization: Bearer {ready.key}'

Ctrl-C stops everything."""


def _curl(ready: Ready, path: str, model: str) -> str:
    body = f'{{"model": "{model}", "prompt": "{_PROMPT}"}}'
    return (
        f"curl {ready.api}{path} -H 'Authorization: Bearer {ready.key}' -H 'Content-Type: application/json' -d '{body}'"
    )
