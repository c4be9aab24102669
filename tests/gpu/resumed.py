"""What `test_continuing.py` runs in another process: a render from its checkpoint to its frames.

python -m tests.gpu.resumed MODEL CHECKPOINT FRAMES
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from tests.support.bare import advance, make, native_spec
from workers.bucket import checkpoints


def main(name: str, checkpoint: str, frames: str) -> None:
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    made = make(name, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    spec = native_spec(made.family)
    snapshot = checkpoints.parse(Path(checkpoint).read_bytes())
    if snapshot.numerics != made.model.numerics(spec):
        raise SystemExit(f"{snapshot.numerics} is not the fingerprint here, {made.model.numerics(spec)}")
    np.save(frames, made.model.decode(advance(made.model, made.model.restore(spec, snapshot))))


if __name__ == "__main__":
    main(*sys.argv[1:])
