"""Fetches of model files in processes of their own, which tests may kill or give another environment."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

from orchestrator.config import S3Settings

# What one does is what `cogmill model fetch` does, with settings from its input and each new kind of progress said.
_FETCH = """
import json, sys
from pathlib import Path
from orchestrator.config import S3Settings
from orchestrator.domain.errors import CogmillError
from workers.modelfiles import locate

told, said = json.load(sys.stdin), []

def tell(progress):
    if progress.doing not in said:
        said.append(progress.doing)
        print(progress.doing, flush=True)

try:
    print(locate(told["source"], Path(told["cache"]), S3Settings(**told["s3"]), on_progress=tell))
except CogmillError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def fetching(source: str, cache: Path, s3: S3Settings, **environment: str) -> subprocess.Popen[str]:
    """A process that fetches `source`: prints the path at the end, or ends with code 1 and the error."""
    process = subprocess.Popen(
        [sys.executable, "-c", _FETCH],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    secret = None if s3.secret_key is None else s3.secret_key.get_secret_value()
    assert process.stdin is not None
    told = {**s3.model_dump(mode="json"), "secret_key": secret}
    json.dump({"source": source, "cache": str(cache), "s3": told}, process.stdin)
    process.stdin.close()
    process.stdin = None  # `communicate` would flush it again
    return process


def write_weights(path: Path, size: int, seed: int = 1) -> bytes:
    """A safetensors file of one tensor of `size` random bytes, and what it holds."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    data = struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data
