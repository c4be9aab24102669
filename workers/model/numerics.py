"""What decides a render's bits beside its spec, and a fingerprint of it: equal fingerprints, equal frames."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import diffusers
import torch
import transformers

# Of each file so many blocks of so many bytes are read, evenly spread: all of a small one, and of weights enough to
# tell one training from another, though their names and sizes are the same.
_SAMPLES = 64
_SAMPLE_BYTES = 4096


def revision(path: Path) -> str:
    """16 hex digits that tell one model's files from another's: their names, their sizes, and samples of each.

    The weights are not read as a whole, which would take minutes.
    """
    digest = hashlib.sha256()
    # Links are followed, as they are when the model is loaded: two models may share a text encoder.
    for file in sorted(Path(below, name) for below, _, names in os.walk(path, followlinks=True) for name in names):
        name = file.relative_to(path)
        if any(part.startswith(".") for part in name.parts) or not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{name.as_posix()}\0{size}\0".encode())
        with file.open("rb") as opened:
            for start in range(0, size, max(_SAMPLE_BYTES, -(-size // _SAMPLES))):
                opened.seek(start)
                digest.update(opened.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


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
