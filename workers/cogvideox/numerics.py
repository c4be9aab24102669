"""What decides a render's bits beside its spec, and a fingerprint of it: equal fingerprints, equal frames."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata

import diffusers
import torch
import transformers


@cache
def version(package: str) -> str:
    """Of an installed package, which need not be imported for it."""
    return metadata.version(package)


def device_facts(device: torch.device) -> dict[str, str]:
    """The device and the libraries that compute whatever is rendered on it."""
    libraries = (torch, diffusers, transformers)
    facts = {library.__name__: library.__version__ for library in libraries}
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        named = {"device": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda), "cudnn": str(cudnn)}
        return {**facts, **named}
    instructions = torch.backends.cpu.get_cpu_capability()
    # A sum's order depends on how many threads share it.
    return {**facts, "device": f"{platform.machine()} {instructions}", "threads": str(torch.get_num_threads())}


def fingerprint(facts: Mapping[str, str]) -> str:
    """16 hex digits of what `facts` say, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
